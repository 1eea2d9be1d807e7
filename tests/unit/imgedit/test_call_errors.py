"""Which failed calls mean that the other side went away."""

from __future__ import annotations

import grpc
import pytest
from grpc.aio import AioRpcError, Metadata
from grpc_status import rpc_status

from imgedit.call_errors import error_of, was_lost
from imgedit.errors import EditCancelled, ImgeditError, InternalError, ServiceUnavailable, to_status


def failed(code: grpc.StatusCode, details: str, error: ImgeditError | None = None) -> AioRpcError:
    trailing = rpc_status.to_status(to_status(error)).trailing_metadata if error else ()
    return AioRpcError(code, Metadata(), Metadata(*trailing), details)


RESET = "Stream removed (RST_STREAM (Received RST_STREAM with error code 2))"


@pytest.mark.parametrize(
    "error",
    [
        failed(grpc.StatusCode.UNAVAILABLE, "failed to connect"),
        failed(grpc.StatusCode.UNAVAILABLE, "closing", ServiceUnavailable("closing")),
        failed(grpc.StatusCode.INTERNAL, RESET),
        failed(grpc.StatusCode.CANCELLED, "Received RST_STREAM with error code 8"),
        failed(grpc.StatusCode.CANCELLED, "CANCELLED"),
    ],
)
def test_a_service_that_went_away_is_unavailable(error: AioRpcError) -> None:
    assert was_lost(error)
    assert isinstance(error_of(error, "somewhere"), ServiceUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        failed(grpc.StatusCode.INTERNAL, "internal error", InternalError("internal error")),
        failed(grpc.StatusCode.INTERNAL, RESET, InternalError(RESET)),
        failed(grpc.StatusCode.INTERNAL, "no details"),
        failed(grpc.StatusCode.UNKNOWN, RESET),
    ],
)
def test_a_servers_own_fault_is_not_taken_for_a_lost_one(error: AioRpcError) -> None:
    assert not was_lost(error)
    assert isinstance(error_of(error, "somewhere"), InternalError)


def test_a_cancelled_edit_is_not_a_lost_one() -> None:
    error = failed(grpc.StatusCode.CANCELLED, "cancelled", EditCancelled("cancelled"))
    assert not was_lost(error)
    assert isinstance(error_of(error, "somewhere"), EditCancelled)
