"""One HTTP request and its response.

The response is sent in pieces with backpressure, and ends when the caller disconnects.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from imgedit.errors import DeadlineExceeded, EditCancelled, InvalidArgument, Unauthenticated, quoted
from services.common.call_context import LONGEST_SECONDS
from services.common.interceptors import REQUEST_ID_KEY, REQUEST_ID_PATTERN
from services.openai_api import metrics, responses
from services.openai_api.responses import Parts

T = TypeVar("T")

DISCARDED_SECONDS = 5.0
"""How long the rest of a refused request is read: a caller who is cut off while sending may not see the answer."""

_SECONDS_OF_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

_MAX_CREDENTIAL = 1024
"""Characters. gRPC refuses a call with several thousand, in words about metadata."""

_GONE = "the caller went away"


class Exchange:
    """A request, and what has been answered so far.

    has_begun: a part of the answer is on its way. is_broken: no more of it can reach the caller.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, request_id: str, send_seconds: float) -> None:
        self.headers = Headers(scope=scope)
        self.request_id = request_id
        self.has_begun = False
        self.is_broken = False
        self._request = Request(scope, receive)
        self._receive = receive
        self._send = send
        self._send_seconds = send_seconds
        self._is_body_read = self.headers.get("content-length", "0") == "0" and "transfer-encoding" not in self.headers

    @property
    def peer(self) -> str:
        """The address that the request came from, which behind the edge is the edge's."""
        client = self._request.client
        return f"{client.host}:{client.port}" if client else ""

    @property
    def authorization(self) -> str | None:
        """The caller's credential as received; None = none.

        Raises `Unauthenticated` for a value that gRPC cannot carry.
        """
        value = self.headers.get("authorization")
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+( +[\x21-\x7e]+)*", value):
            raise Unauthenticated("the header authorization must be 'Bearer TOKEN' in ASCII")
        if value is not None and len(value) > _MAX_CREDENTIAL:
            raise Unauthenticated(f"the header authorization has {len(value)} characters, more than any API token")
        return value

    def path_parameter(self, name: str) -> str:
        """A part of the path."""
        return str(self._request.path_params[name])

    def ends_at(self, default_seconds: float) -> float:
        """The caller's deadline, from `grpc-timeout`, on the `time.monotonic` clock."""
        value = self.headers.get("grpc-timeout")
        if value is None:
            return time.monotonic() + default_seconds
        match = re.fullmatch(r"([0-9]{1,8})([HMSmun])", value)
        if match is None:
            raise InvalidArgument.field(
                "grpc-timeout",
                f"must be 1 to 8 digits and a unit, H, M, S, m, u or n, for instance 30S; it is {quoted(value)}",
            )
        return time.monotonic() + min(int(match[1]) * _SECONDS_OF_UNIT[match[2]], LONGEST_SECONDS)

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the request's body as it arrives.

        Raises `EditCancelled` if the caller disconnects first.
        """
        while not self._is_body_read:
            chunk = await self._next_of_body()
            if chunk:
                metrics.REQUEST_BYTES.inc(len(chunk))
                yield chunk

    async def discard_body(self, most: int) -> None:
        """Read and discard the rest of the body, up to `most` bytes and for a short time."""
        left = most
        with suppress(TimeoutError, EditCancelled):
            async with asyncio.timeout(DISCARDED_SECONDS):
                while left > 0 and not self._is_body_read:
                    left -= len(await self._next_of_body())

    async def _next_of_body(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.is_broken = True
            raise EditCancelled(_GONE)
        self._is_body_read = not message.get("more_body", False)
        chunk: bytes = message.get("body", b"")
        return chunk

    async def while_connected(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`, which is cancelled if the caller disconnects.

        Call it after the body is read.
        """
        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(self._until_left())
        try:
            await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                self.is_broken = True
                raise EditCancelled(_GONE)
            return working.result()
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)

    async def answer(
        self, status: int, parts: Parts, *, media_type: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """The whole answer."""
        size = {"content-length": str(responses.length(parts))}
        await self._begin(status, {"content-type": media_type, **size, **(headers or {})})
        await self._pass_on(parts, is_end=True)

    async def answer_json(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        """The whole answer, as JSON."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        await self.answer(status, [text], media_type="application/json", headers=headers)

    async def begin_events(self) -> None:
        """Begin an answer of server-sent events."""
        await self._begin(200, {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-store"})

    async def send_event(self, parts: Parts) -> None:
        """One event."""
        await self._pass_on(parts)

    async def end_events(self) -> None:
        """No further event comes."""
        await self._pass_on([], is_end=True)

    async def _until_left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        self.has_begun = True
        known = {"x-request-id": self.request_id, REQUEST_ID_KEY: self.request_id, "x-content-type-options": "nosniff"}
        if not self._is_body_read:  # or what is left of it would be read without end
            known["connection"] = "close"
        raw = [(name.encode("ascii"), value.encode("latin-1")) for name, value in {**known, **headers}.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def _pass_on(self, parts: Parts, *, is_end: bool = False) -> None:
        """Send parts. A caller who reads them too slowly is cut off."""
        try:
            async with asyncio.timeout(self._send_seconds):
                for piece in responses.slices(parts):
                    await self._send({"type": "http.response.body", "body": piece, "more_body": True})
                if is_end:
                    await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            self.is_broken = True
            self._request.state.cut()
            await asyncio.sleep(0)  # in which the connection learns of it
            raise DeadlineExceeded("the caller takes too long to read the answer") from None
        except OSError:
            self.is_broken = True
            raise EditCancelled(_GONE) from None


def given_request_id(headers: Headers) -> str | None:
    """The caller's id for the request; None if it sends none.

    Raises `InvalidArgument` for a malformed one.
    """
    value = headers.get(REQUEST_ID_KEY)
    if value is not None and not REQUEST_ID_PATTERN.fullmatch(value):
        raise InvalidArgument.field(
            REQUEST_ID_KEY, f"must be 1 to 64 letters, digits, '.', '_' or '-'; it is {quoted(value)}"
        )
    return value
