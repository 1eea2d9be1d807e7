"""Convert failed gRPC calls to errors of `imgedit.errors`, in client and servers."""

from __future__ import annotations

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from imgedit.errors import ImgeditError, ServiceUnavailable, from_status


def was_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether the server was lost: UNAVAILABLE, or a broken stream.

    gRPC reports the latter as INTERNAL or CANCELLED without details; our servers send details with these codes.
    """
    if error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED):
        return error.code() is grpc.StatusCode.UNAVAILABLE
    words = error.details() or ""
    return ("RST_STREAM" in words or words == "CANCELLED") and rpc_status.from_call(error) is None


def error_of(error: grpc.aio.AioRpcError, target: str) -> ImgeditError:
    """The error of a failed call.

    An unreachable server is named by its address.
    """
    status = rpc_status.from_call(error)
    if status is not None:
        return from_status(status)
    translated = from_status(status_pb2.Status(code=error.code().value[0], message=error.details() or ""))
    if was_lost(error):
        details = error.details() or ""
        advice = (
            "do both sides use TLS, and trust each other's authority?"
            if "handshake" in details
            else "is the server running?"
        )
        return ServiceUnavailable(f"no answer from {target}: {details}; {advice}")
    return translated
