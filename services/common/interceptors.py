"""What surrounds every RPC: credential, request id, in-flight gauge, timing, access log, errors turned into a status.

Handlers raise `ImgeditError`; nothing but this interceptor talks status. It knows nothing of any one service.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from imgedit.errors import ImgeditError, ServiceUnavailable, Unauthenticated, to_status
from services.common import callers, calls, deadline, logs, tls, tracing
from services.common.access import REFLECTION, Gate
from services.common.calls import Call
from services.common.deadline import Context

REQUEST_ID_KEY = "x-imgedit-request-id"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")

_HEALTH = "/grpc.health."

UNBEGUN = ("x-imgedit-unbegun", "1")
"""Trailing metadata of a call that a stopping server never began: a balancer may hand it to another replica."""


CREDENTIAL_CHECK = "x-imgedit-credential-check"
"""Metadata key of a call that asks only whether its credential admits it: the edge's, before it reads a body."""


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of `service` for those whom `gate` admits.

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
        self._is_closed = False
        self._running = 0
        self._ended = asyncio.Event()

    async def close(self) -> bool:
        """Refuse new calls from now on and wait for those that run. False where none ran."""
        self._is_closed = True
        had_calls = self._running > 0
        while self._running:
            self._ended.clear()
            await self._ended.wait()
        return had_calls

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
        if self._is_closed:
            stopping = ServiceUnavailable("this server is stopping; ask again, and another will answer")
            return self._refusal(rpc, stopping, UNBEGUN)
        metadata = tuple(handler_call_details.invocation_metadata or ())
        try:
            name = self._gate.admit(method, metadata)
        except ImgeditError as error:
            return self._refusal(rpc, error)
        if any(key == CREDENTIAL_CHECK for key, _ in metadata):
            return grpc.stream_unary_rpc_method_handler(_admitted)
        if method.startswith(REFLECTION):
            return handler  # type: ignore[no-any-return]
        if handler.request_streaming and not handler.response_streaming:
            raise TypeError(f"{method}: a stream of requests with one answer is not handled here")
        if handler.request_streaming:
            return self._wrap_streams(method, handler, name)
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
        return wrap(method, handler, name)

    def _refusal(self, rpc: str, error: ImgeditError, *metadata: tuple[str, str]) -> grpc.RpcMethodHandler[Any, Any]:
        """Answers any kind of RPC with `error`. Declared as one that takes a stream, so that no request is read."""

        async def refuse(_requests: AsyncIterator[bytes], context: Context) -> None:
            logs.request_id.set(given_request_id(None, context) or uuid.uuid4().hex)
            self._call(rpc, context).record(error, 0.0)
            await _abort(context, error, *metadata)

        return grpc.stream_unary_rpc_method_handler(refuse)

    def _wrap_unary(self, method: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(request: Message, context: Context) -> Message:
            async with self._observe(method, name, request, context):
                return await handler.unary_unary(request, context)  # type: ignore[no-any-return]
            raise AssertionError("an aborted call returns nothing")

        return grpc.unary_unary_rpc_method_handler(observed, handler.request_deserializer, handler.response_serializer)

    def _wrap_stream(self, method: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(request: Message, context: Context) -> AsyncIterator[Message]:
            async with (
                self._observe(method, name, request, context),
                aclosing(handler.unary_stream(request, context)) as responses,
            ):
                async for response in responses:
                    yield response

        return grpc.unary_stream_rpc_method_handler(observed, handler.request_deserializer, handler.response_serializer)

    def _wrap_streams(self, method: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(requests: AsyncIterator[Message], context: Context) -> AsyncIterator[Message]:
            async with (
                self._observe(method, name, None, context),
                aclosing(handler.stream_stream(requests, context)) as responses,
            ):
                async for response in responses:
                    yield response

        return grpc.stream_stream_rpc_method_handler(
            observed, handler.request_deserializer, handler.response_serializer
        )

    @asynccontextmanager
    async def _observe(self, method: str, name: str, request: Message | None, context: Context) -> AsyncIterator[None]:
        request_id = given_request_id(request, context) or uuid.uuid4().hex
        logs.request_id.set(request_id)
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        certified = tls.peer_names(context)
        # A token says more than the certificate of the machine that sent it.
        callers.caller.set(name if self._gate.asks or not certified else certified[0])
        call = self._call(method.rsplit("/", 1)[-1], context)
        calls.current.set(call)
        self._running += 1
        try:
            with (
                tracing.served(method, context.invocation_metadata, request_id=request_id),
                call.observed(),
            ):
                self._refuse_stranger(certified)
                if request is not None:
                    calls.refuse_too_large(request)
                yield
        except ImgeditError as error:
            await _abort(context, error)
        finally:
            self._running -= 1
            self._ended.set()

    def _call(self, rpc: str, context: Context) -> Call:
        """Asks the context now: once the caller has gone, asking it for its peer reads freed memory."""
        return Call(self._service, rpc, context.peer(), deadline.of(context), self._max_request_bytes)

    def _refuse_stranger(self, certified: Sequence[str]) -> None:
        if self._client_names and not self._client_names & set(certified):
            raise Unauthenticated("the certificate of the caller has none of the names that may call this service")


async def _admitted(_requests: AsyncIterator[bytes], _context: Context) -> bytes:
    return b""


def given_request_id(request: Message | None, context: Context) -> str | None:
    """The caller's id, from the request or else from the metadata; None where there is none or it is malformed."""
    metadata = dict(context.invocation_metadata() or ())
    for candidate in (getattr(request, "request_id", ""), metadata.get(REQUEST_ID_KEY, "")):
        if isinstance(candidate, str) and REQUEST_ID_PATTERN.fullmatch(candidate):
            return candidate
    return None


async def _abort(context: Context, error: ImgeditError, *metadata: tuple[str, str]) -> None:
    error.metadata.setdefault("request_id", logs.request_id.get())
    message = to_status(error)
    status = rpc_status.to_status(message)
    trailing = (*(status.trailing_metadata or ()), (REQUEST_ID_KEY, logs.request_id.get()), *metadata)
    await context.abort(error.code, message.message, trailing)
