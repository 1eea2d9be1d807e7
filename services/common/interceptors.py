"""The interceptor around every RPC.

Handles credential, request id, in-flight gauge, timing, access log, and errors as statuses. Handlers raise
`ImgeditError`; only this interceptor deals with status.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message
from grpc_status import rpc_status

from imgedit.errors import ImgeditError, ServiceUnavailable, Unauthenticated, to_status
from services.common import calls, logs, messages, tls, tracing
from services.common.access import REFLECTION, Gate
from services.common.call_context import Context, caller, deadline_of
from services.common.calls import Call
from services.common.messages import Limits, Messages

REQUEST_ID_KEY = "x-imgedit-request-id"
REQUEST_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,64}")

_HEALTH = "/grpc.health."

UNBEGUN = ("x-imgedit-unbegun", "1")
"""Trailing metadata of a call that a stopping server never began: a balancer may hand it to another replica."""


CREDENTIAL_CHECK = "x-imgedit-credential-check"
"""Metadata key of a call that asks only whether its credential admits it: the edge's, before it reads a body."""


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of `service` for callers that `gate` admits.

    Health is open to all and reflection to admitted callers; both pass through unobserved. A client certificate must
    carry one of `client_names`, if there are any. Every call is served as a stream, because gRPC would otherwise wait
    for a message without a limit and send a response unobserved.
    """

    def __init__(
        self,
        service: str,
        *,
        max_request_bytes: int,
        gate: Gate,
        client_names: frozenset[str] = frozenset(),
        limits: Limits = messages.DEFAULT_LIMITS,
    ) -> None:
        self._service = service
        self._messages = Messages(limits)
        self._health_messages = Messages(messages.HEALTH_LIMITS)
        self._watching = Messages(messages.WATCH_LIMITS)
        self._max_request_bytes = max_request_bytes
        self._gate = gate
        self._client_names = client_names
        self._is_closed = False
        self._running = 0
        self._ended = asyncio.Event()

    async def close(self) -> bool:
        """Reject new calls from now on and wait for running ones.

        Returns False if none ran.
        """
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
        """Intercept a call; called by gRPC once per call."""
        handler: Any = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return None
        if method.startswith(_HEALTH):
            return self._wrap_health(handler)
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
            return self._wrap_reflection(handler, name)
        if handler.request_streaming and not handler.response_streaming:
            raise TypeError(f"{method}: a stream of requests with one answer is not handled here")
        if handler.request_streaming:
            return self._wrap_streams(method, handler, name)
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
        return wrap(method, handler, name)

    def _refusal(self, rpc: str, error: ImgeditError, *metadata: tuple[str, str]) -> grpc.RpcMethodHandler[Any, Any]:
        """Ends any kind of RPC with `error`.

        Declared as a streaming handler, so that no request is read.
        """

        async def refuse(_requests: AsyncIterator[bytes], context: Context) -> None:
            logs.request_id.set(given_request_id(None, context) or uuid.uuid4().hex)
            self._call(rpc, context.peer(), context).record(error, 0.0)
            await _abort(context, error, *metadata)

        return grpc.stream_unary_rpc_method_handler(refuse)

    def _wrap_unary(self, method: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(_requests: object, context: Context) -> None:
            arrival = self._arrival(method, name, context)
            request = await self._received(arrival, context)
            if request is not None:
                async with self._observe(arrival, request, context):
                    response = await handler.unary_unary(request, context)
                    await self._messages.send(context, response, arrival.peer)

        return _as_streams(handler, observed)

    def _wrap_stream(self, method: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(_requests: object, context: Context) -> None:
            arrival = self._arrival(method, name, context)
            request = await self._received(arrival, context)
            if request is not None:
                async with (
                    self._observe(arrival, request, context),
                    aclosing(handler.unary_stream(request, context)) as responses,
                ):
                    async for response in responses:
                        await self._messages.send(context, response, arrival.peer)

        return _as_streams(handler, observed)

    def _wrap_streams(self, method: str, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def observed(requests: AsyncIterator[Message], context: Context) -> None:
            arrival = self._arrival(method, name, context)
            async with self._observe(arrival, None, context):
                with self._messages.streaming(arrival.caller):
                    async with aclosing(handler.stream_stream(requests, context)) as responses:
                        async for response in responses:
                            await self._messages.send(context, response, arrival.peer)

        return _as_streams(handler, observed)

    def _wrap_health(self, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        async def answered(_requests: object, context: Context) -> None:
            host = context.peer().rpartition(":")[0]
            try:
                request = await self._health_messages.receive(context, host)
                if request is not None and handler.response_streaming:
                    with self._watching.streaming(host):
                        await handler.unary_stream(request, context)
                elif request is not None:
                    await context.write(await handler.unary_unary(request, context))
            except ImgeditError as error:
                await _abort(context, error)

        return _as_streams(handler, answered)

    def _wrap_reflection(self, handler: Any, name: str) -> grpc.RpcMethodHandler[Any, Any]:
        async def answered(requests: AsyncIterator[Message], context: Context) -> None:
            limited = messages.until_idle(requests, messages.HEALTH_LIMITS.receive_seconds, lambda: False)
            peer = context.peer()
            try:
                with self._messages.streaming(name), self._messages.call(peer):
                    async for response in handler.stream_stream(limited, context):
                        await self._messages.send(context, response, peer)
            except ImgeditError as error:
                await _abort(context, error)

        return _as_streams(handler, answered)

    def _arrival(self, method: str, name: str, context: Context) -> _Arrival:
        """Reads the context now.

        After the caller has gone, asking for its peer reads freed memory.
        """
        certified = tls.peer_names(context)
        # A token says more than the machine's certificate.
        caller = name if self._gate.asks or not certified else certified[0]
        return _Arrival(method, caller, context.peer(), tuple(certified))

    async def _received(self, arrival: _Arrival, context: Context) -> Message | None:
        """The request of a unary call; None if the caller has gone.

        A call without a message ends here.
        """
        started = time.perf_counter()
        try:
            self._refuse_stranger(arrival.certified)
            return await self._messages.receive(context, arrival.caller)  # type: ignore[no-any-return]
        except ImgeditError as error:
            caller.set(arrival.caller)
            logs.request_id.set(given_request_id(None, context) or uuid.uuid4().hex)
            self._call(arrival.rpc, arrival.peer, context).record(error, time.perf_counter() - started)
            await _abort(context, error)

    @asynccontextmanager
    async def _observe(self, arrival: _Arrival, request: Message | None, context: Context) -> AsyncIterator[None]:
        request_id = given_request_id(request, context) or uuid.uuid4().hex
        logs.request_id.set(request_id)
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id),))
        caller.set(arrival.caller)
        call = self._call(arrival.rpc, arrival.peer, context)
        calls.current.set(call)
        self._running += 1
        try:
            with (
                self._messages.call(arrival.peer),
                tracing.served(arrival.method, context.invocation_metadata, request_id=request_id),
                call.observed(),
            ):
                self._refuse_stranger(arrival.certified)
                if request is not None:
                    calls.refuse_too_large(request)
                async with call.until_sent:
                    yield
        except ImgeditError as error:
            await _abort(context, error)
        finally:
            self._running -= 1
            self._ended.set()

    def _call(self, rpc: str, peer: str, context: Context) -> Call:
        return Call(self._service, rpc, peer, deadline_of(context), self._max_request_bytes)

    def _refuse_stranger(self, certified: Sequence[str]) -> None:
        if self._client_names and not self._client_names & set(certified):
            raise Unauthenticated("the certificate of the caller has none of the names that may call this service")


async def _admitted(_requests: AsyncIterator[bytes], _context: Context) -> bytes:
    return b""


@dataclass(frozen=True)
class _Arrival:
    """An incoming call.

    certified: the names in the caller's certificate.
    """

    method: str
    caller: str
    peer: str
    certified: tuple[str, ...]

    @property
    def rpc(self) -> str:
        return self.method.rsplit("/", 1)[-1]


def _as_streams(
    handler: Any, behaviour: Callable[[AsyncIterator[Message], Context], Awaitable[None]]
) -> grpc.RpcMethodHandler[Any, Any]:
    """The same RPC on the wire.

    `behaviour` reads and writes by itself.
    """
    return grpc.stream_stream_rpc_method_handler(
        behaviour,
        messages.bounded(handler.request_deserializer),
        handler.response_serializer,
    )


def given_request_id(request: Message | None, context: Context) -> str | None:
    """The caller's request id, from the request or else from the metadata.

    None if it is missing or malformed.
    """
    metadata = dict(context.invocation_metadata() or ())
    for candidate in (getattr(request, "request_id", ""), metadata.get(REQUEST_ID_KEY, "")):
        if isinstance(candidate, str) and REQUEST_ID_PATTERN.fullmatch(candidate):
            return candidate
    return None


async def _abort(context: Context, error: ImgeditError, *metadata: tuple[str, str]) -> NoReturn:
    error.metadata.setdefault("request_id", logs.request_id.get())
    message = to_status(error)
    status = rpc_status.to_status(message)
    trailing = (*(status.trailing_metadata or ()), (REQUEST_ID_KEY, logs.request_id.get()), *metadata)
    await context.abort(error.code, message.message, trailing)
