"""The current call or sub-call: counted, timed, logged, with mapped errors.

Unexpected exceptions become InternalError.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

from google.protobuf.message import Message
from google.rpc import status_pb2

from imgedit.errors import (
    DeadlineExceeded,
    EditCancelled,
    ImgeditError,
    InternalError,
    RequestTooLarge,
    Violation,
    to_status,
)
from services.common import logs, metrics, tracing
from services.common.call_context import caller
from services.common.settings import MIB

_access_log = logging.getLogger("imgedit.access")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Call:
    """One call.

    answered: errors that were sent as messages instead of the status. until_sent: closed when the response was read.
    """

    service: str
    rpc: str
    peer: str
    ends_at: float | None
    max_request_bytes: int
    answered: list[ImgeditError] = field(default_factory=list)
    until_sent: AsyncExitStack = field(default_factory=AsyncExitStack)

    @contextmanager
    def observed(self) -> Iterator[None]:
        """Count, time and log the code inside.

        Unexpected exceptions become known errors.
        """
        started = time.perf_counter()
        error: ImgeditError | None = None
        in_flight = metrics.RPC_IN_FLIGHT.labels(self.service, self.rpc)
        in_flight.inc()
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):  # the latter while a stream waits to send
            error = self._why_cancelled()
            raise
        except Exception as raised:  # noqa: BLE001  # the one place that turns errors into a status
            error = _known(raised)
            raise error from None
        finally:
            in_flight.dec()
            # A reported error ends the call, even if the caller leaves right after reading it.
            self.record(next(iter(self.answered), None) or error, time.perf_counter() - started)

    def record(self, error: ImgeditError | None, seconds: float) -> None:
        """Count and log the end of the call."""
        code = error.code.name if error else "OK"
        metrics.RPC_SECONDS.labels(self.service, self.rpc, code).observe(seconds)
        fields = {
            "rpc": self.rpc,
            "code": code,
            "seconds": round(seconds, 4),
            "peer": self.peer,
            "caller": caller.get(),
        }
        if error:
            metrics.RPC_ERRORS.labels(self.service, self.rpc, code, error.reason).inc()
            tracing.failed(error)
            fields |= {"reason": error.reason, "error": error.message}
        _access_log.info("rpc", extra=fields)

    def _why_cancelled(self) -> ImgeditError:
        if self.ends_at is not None and time.monotonic() >= self.ends_at:
            return DeadlineExceeded("the deadline passed")
        return EditCancelled("the caller went away")


current: ContextVar[Call] = ContextVar("current")
"""Set by the interceptor."""


@contextmanager
def part(request_id: str) -> Iterator[None]:
    """A sub-call: one request of a streaming call, with its own id and log line.

    For a task that serves only this sub-call. Its `rpc` is the call's plus "Item".
    """
    call = current.get()
    item = replace(call, rpc=f"{call.rpc}Item", answered=[])
    current.set(item)
    logs.request_id.set(request_id)
    with tracing.span(item.rpc, request_id=request_id), item.observed():
        yield


def answered_error(raised: Exception) -> status_pb2.Status:
    """The status of an error that a handler sends as a stream message.

    Logged and counted.
    """
    error = _known(raised)
    current.get().answered.append(error)
    tracing.failed(error)
    error.metadata.setdefault("request_id", logs.request_id.get())
    return to_status(error)


def status_of(error: BaseException, request_id: str) -> status_pb2.Status:
    """The status of a call with this id, without logging or counting it."""
    known = error if _is_known(error) else _internal(request_id)
    known.metadata.setdefault("request_id", request_id)
    return to_status(known)


def refuse_too_large(request: Message) -> None:
    """Raise `RequestTooLarge` for a message over the current server's limit."""
    size, accepted = request.ByteSize(), current.get().max_request_bytes
    if size <= accepted:
        return
    largest = max(request.ListFields(), key=lambda item: _weight(item[1]))[0].name
    limit = accepted / MIB
    description = f"the request has {size / MIB:.1f} MiB, at most {limit:g} MiB are accepted; send a smaller picture"
    raise RequestTooLarge(
        f"{largest}: {description}",
        korean=f"요청이 {size / MIB:.1f} MiB입니다. {limit:g} MiB까지 보낼 수 있습니다. 이미지를 줄여 주세요.",
        violations=[Violation(largest, description)],
    )


def _known(raised: Exception) -> ImgeditError:
    """The error itself, or an `InternalError` with only the request id."""
    if _is_known(raised):
        return raised
    _log.error("unexpected error", exc_info=raised)
    return _internal(logs.request_id.get())


def _is_known(raised: BaseException) -> TypeGuard[ImgeditError]:
    return isinstance(raised, ImgeditError) and bool(raised.reason)


def _internal(request_id: str) -> InternalError:
    return InternalError(f"internal error; quote request id {request_id}")


def _weight(value: Any) -> int:
    """The approximate size of a field's value in bytes."""
    if isinstance(value, Message):
        return value.ByteSize()
    if isinstance(value, bytes | str):
        return len(value)
    return sum(_weight(item) for item in value) if isinstance(value, Iterable) else 8
