"""A failed gRPC call as an error of `imgedit.errors`, for the client as for a server that calls another."""

from __future__ import annotations

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from imgedit.errors import ImgeditError, ServiceUnavailable, from_status


def was_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether the other side went away.

    UNAVAILABLE, or a stream that ended in the middle without a word of ours.

    gRPC names the latter INTERNAL or CANCELLED, with nothing but its own words; a server of ours that means either says
    so with details.
    """
    if error.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.CANCELLED):
        return error.code() is grpc.StatusCode.UNAVAILABLE
    words = error.details() or ""
    return ("RST_STREAM" in words or words == "CANCELLED") and rpc_status.from_call(error) is None


def error_of(error: grpc.aio.AioRpcError, target: str) -> ImgeditError:
    """The error that a failed call stands for.

    A server that does not answer is named by its address.
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
