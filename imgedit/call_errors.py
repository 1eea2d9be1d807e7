"""Convert failed gRPC calls to errors of `imgedit.errors`, in client and servers."""

from __future__ import annotations

import re

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from imgedit.errors import ImgeditError, NotFound, RequestTooLarge, ServiceUnavailable, from_status
from imgedit.option_names import in_options

_TOO_LARGE = re.compile(
    r"(CLIENT: Sent|SERVER: Received|CLIENT: Received) message larger than max \((\d+) vs\. (\d+)\)"
)
_MIB = 1024 * 1024


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
    """`error_of` for the public API, whose address may belong to another server."""
    is_of_this_api = rpc_status.from_call(error) is not None
    if is_of_this_api or error.code() is not grpc.StatusCode.UNIMPLEMENTED:
        return _too_large(error) or in_python(error_of(error, target))
    return NotFound(
        f"the server at {target} answers, but does not offer this call; is that the address of an orchestrator or an "
        "edge (and not of a model service), and of this version?",
        korean=f"{target}의 서버는 이 요청을 처리하지 않습니다. 모델 서비스가 아니라 orchestrator의 주소인지, "
        "버전이 같은지 확인하세요.",
    )


def in_python(error: ImgeditError) -> ImgeditError:
    """The error, with the Python client's option names in its text.

    Its `message` and violations stay.
    """
    error.args = (in_options(error.message),)
    return error


def _too_large(error: grpc.aio.AioRpcError) -> RequestTooLarge | None:
    """The error for a message above gRPC's size limit; None for another error."""
    found = _TOO_LARGE.search(error.details() or "")
    if found is None:
        return None
    end, size, limit = found[1], int(found[2]) / _MIB, int(found[3]) / _MIB
    if end == "CLIENT: Received":
        return RequestTooLarge(
            f"the response has {size:.1f} MiB, and the client takes {limit:.0f} MiB; leave pictures out with "
            "output=Output(omit=...), or ask for JPEG or WebP",
            korean=f"응답이 {size:.1f} MiB입니다. 클라이언트는 {limit:.0f} MiB까지 받습니다. JPEG나 WebP로 받거나 "
            "일부 이미지를 빼세요.",
        )
    side = "the client sends" if end == "CLIENT: Sent" else "the server takes"
    return RequestTooLarge(
        f"the request has {size:.1f} MiB, and {side} {limit:.0f} MiB at most; make its pictures smaller, or use JPEG "
        "or WebP files",
        korean=f"요청이 {size:.1f} MiB입니다. {limit:.0f} MiB까지 보낼 수 있습니다. 이미지를 줄이거나 JPEG나 WebP로 "
        "바꾸세요.",
    )
