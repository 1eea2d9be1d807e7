"""What surrounds every RPC: credential, request id, in-flight gauge, timing, access log, errors turned into a status.

Handlers raise `ImgeditError`; nothing but this interceptor talks status. It knows nothing of any one service.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2
from grpc_status import rpc_status

from imgedit.errors import (
    DeadlineExceeded,
    EditCancelled,
    ImgeditError,
    InternalError,
    RequestTooLarge,
    Unauthenticated,
    Violation,
    to_status,
)
from services.common import callers, deadline, logs, metrics, tls
from services.common.access import REFLECTION, Gate
from services.common.deadline import Context
from services.common.settings import MIB

REQUEST_ID_KEY = "x-imgedit-request-id"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")

_HEALTH = "/grpc.health."
_access_log = logging.getLogger("imgedit.access")
_log = logging.getLogger(__name__)

_answered: ContextVar[list[ImgeditError]] = ContextVar("answered")
"""Errors of the current call that were sent as messages instead of as its status."""


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps unary-unary and unary-stream handlers of `service` for those whom `gate` admits.

    Health is open to all and reflection to those admitted; both pass through unobserved. Where a caller shows a
    certificate, it must have one of `client_names`, unless there are none.
    """

    def __init__(
        self, service: str, *, max_request_bytes: int, gate: Gate, client_names: frozenset[str] = frozenset()
    ) -> None:
        self._service = service
        self._max_request_bytes = max_request_bytes
        self._gate = gate
        self._client_names = client_names

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Called by gRPC once per call."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_HEALTH):
            return handler  # type: ignore[no-any-return]
        rpc = method.rsplit("/", 1)[-1]
        try:
            name = self._gate.admit(method, tuple(handler_call_details.invocation_metadata or ()))
        except ImgeditError as error:
            return self._refusal(rpc, error)
        if method.startswith(REFLECTION):
            return handler  # type: ignore[no-any-return]
        if handler.request_streaming:
            raise TypeError(f"{method}: streaming requests are not handled here")
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
        return wrap(rpc, handler, name)

    def _refusal(self, rpc: str, error: ImgeditError) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers any kind of RPC with `error`. Declared as one that takes a stream, so that no request is read."""

        async def refuse(_requests: AsyncIterator[bytes], context: Context) -> None:
            logs.request_id.set(_request_id(None, context))
            self._record(rpc, error, 0.0, context.peer())
            await _abort(context, error)

        return grpc.stream_unary_rpc_method_handler(refuse)

    def _wrap_unary(self, rpc: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(request: Message, context: Context) -> Message:
            async with self._observe(rpc, name, request, context):
                return await handler.unary_unary(request, context)  # type: ignore[no-any-return]
            raise AssertionError("an aborted call returns nothing")

        return grpc.unary_unary_rpc_method_handler(observed, handler.request_deserializer, handler.response_serializer)

    def _wrap_stream(self, rpc: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(request: Message, context: Context) -> AsyncIterator[Message]:
            async with self._observe(rpc, name, request, context):
                async for response in handler.unary_stream(request, context):
                    yield response

        return grpc.unary_stream_rpc_method_handler(observed, handler.request_deserializer, handler.response_serializer)

    @asynccontextmanager
    async def _observe(self, rpc: str, name: str, request: Message, context: Context) -> AsyncIterator[None]:
        request_id = _request_id(request, context)
        # Asked for now: once the caller has gone, asking the context for its peer reads freed memory.
        peer, ends_at, certified = context.peer(), deadline.of(context), tls.peer_names(context)
        # A token says more than the certificate of the machine that sent it.
        callers.caller.set(name if self._gate.asks or not certified else certified[0])
        logs.request_id.set(request_id)
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        started = time.perf_counter()
        error: ImgeditError | None = None
        answered: list[ImgeditError] = []
        _answered.set(answered)
        in_flight = metrics.RPC_IN_FLIGHT.labels(self._service, rpc)
        in_flight.inc()
        try:
            self._refuse_stranger(certified)
            self._refuse_too_large(request)
            yield
        except (asyncio.CancelledError, GeneratorExit):  # the latter where a stream waits to send
            error = _why_cancelled(ends_at)
            raise
        except Exception as raised:  # noqa: BLE001  # the one place that turns errors into a status
            error = _known(raised)
        finally:
            in_flight.dec()
            self._record(rpc, error or next(iter(answered), None), time.perf_counter() - started, peer)
        if error is not None:
            await _abort(context, error)

    def _refuse_stranger(self, certified: Sequence[str]) -> None:
        if self._client_names and not self._client_names & set(certified):
            raise Unauthenticated("the certificate of the caller has none of the names that may call this service")

    def _refuse_too_large(self, request: Message) -> None:
        size = request.ByteSize()
        if size <= self._max_request_bytes:
            return
        largest = max(request.ListFields(), key=lambda item: _weight(item[1]))[0].name
        limit = self._max_request_bytes / MIB
        description = (
            f"the request has {size / MIB:.1f} MiB, at most {limit:g} MiB are accepted; send a smaller picture"
        )
        raise RequestTooLarge(
            f"{largest}: {description}",
            korean=f"요청이 {size / MIB:.1f} MiB입니다. {limit:g} MiB까지 보낼 수 있습니다. 이미지를 줄여 주세요.",
            violations=[Violation(largest, description)],
        )

    def _record(self, rpc: str, error: ImgeditError | None, seconds: float, peer: str) -> None:
        code = error.code.name if error else "OK"
        metrics.RPC_SECONDS.labels(self._service, rpc, code).observe(seconds)
        fields = {"rpc": rpc, "code": code, "seconds": round(seconds, 4), "peer": peer, "caller": callers.caller.get()}
        if error:
            metrics.RPC_ERRORS.labels(self._service, rpc, code, error.reason).inc()
            fields |= {"reason": error.reason, "error": error.message}
        _access_log.info("rpc", extra=fields)


def _request_id(request: Message | None, context: Context) -> str:
    """The caller's id from the request or the metadata; a new one where there is none or it is malformed."""
    metadata = dict(context.invocation_metadata() or ())
    for candidate in (getattr(request, "request_id", ""), metadata.get(REQUEST_ID_KEY, "")):
        if isinstance(candidate, str) and REQUEST_ID_PATTERN.fullmatch(candidate):
            return candidate
    return uuid.uuid4().hex


def _why_cancelled(ends_at: float | None) -> ImgeditError:
    if ends_at is not None and time.monotonic() >= ends_at:
        return DeadlineExceeded("the deadline passed")
    return EditCancelled("the caller went away")


def answered_error(raised: Exception) -> status_pb2.Status:
    """The status of an error that a handler answers as a message of its stream, so that it is logged and counted."""
    error = _known(raised)
    _answered.get().append(error)
    error.metadata.setdefault("request_id", logs.request_id.get())
    return to_status(error)


def _known(raised: Exception) -> ImgeditError:
    """The error itself, or an `InternalError` that tells the caller nothing but the request id."""
    if isinstance(raised, ImgeditError) and raised.reason:
        return raised
    _log.error("unexpected error", exc_info=raised)
    return InternalError(f"internal error; quote request id {logs.request_id.get()}")


def _weight(value: Any) -> int:
    """About how many bytes a field's value takes."""
    if isinstance(value, Message):
        return value.ByteSize()
    if isinstance(value, bytes | str):
        return len(value)
    return sum(_weight(item) for item in value) if isinstance(value, Iterable) else 8


async def _abort(context: Context, error: ImgeditError) -> None:
    error.metadata.setdefault("request_id", logs.request_id.get())
    status = rpc_status.to_status(to_status(error))
    trailing = (*(status.trailing_metadata or ()), (REQUEST_ID_KEY, logs.request_id.get()))
    await context.abort(error.code, error.message, trailing)
