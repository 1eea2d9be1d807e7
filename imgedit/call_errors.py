"""Convert failed gRPC calls to errors of `imgedit.errors`, in client and servers."""

from __future__ import annotations

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from imgedit.errors import ImgeditError, NotFound, ServiceUnavailable, from_status


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


def client_error_of(error: grpc.aio.AioRpcError, target: str) -> ImgeditError:
    """`error_of` for a client of the public API, whose address may lead to another server."""
    if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
        return error_of(error, target)
    return NotFound(
        f"the server at {target} answers, but does not offer this call; is that the address of an orchestrator or an "
        "edge (and not of a model service), and of this version?",
        korean=f"{target}의 서버는 이 요청을 처리하지 않습니다. 모델 서비스가 아니라 orchestrator의 주소인지, "
        "버전이 같은지 확인하세요.",
    )
