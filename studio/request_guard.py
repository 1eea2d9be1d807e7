"""Middleware before Streamlit's routes.

The WebSocket's origin check, limits of uploads and open pages, hidden routes.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from studio import uploads
from studio.uploads import Pages, TooMuch, Uploads

CLOSED = ("/_stcore/metrics",)
"""Endings of paths that are answered as if there were nothing: numbers about sessions and caches, for no visitor."""

DISCARDED_SECONDS = 10.0

_DEFAULT_PORTS = (":80", ":443")


class Door:
    """ASGI middleware that rejects cross-origin WebSockets with 403.

    Streamlit accepts the page's host and this machine on any port; this also compares the port. Programs send no
    Origin.
    Uploads beyond the memory limits get 413, and uploads that take too long 408. Pages beyond their number get 503.
    """

    def __init__(self, app: Any, uploads: Uploads, pages: Pages) -> None:
        self._app = app
        self._uploads = uploads
        self._pages = pages

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Reject, or pass on."""
        if scope["type"] == "websocket" and not is_own_page(_header(scope, b"origin"), _header(scope, b"host")):
            await receive()  # the connect message; closed without accepting, it becomes 403
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "websocket":
            await self._page(scope, receive, send)
        elif scope["type"] == "http" and scope["path"].rstrip("/").endswith(CLOSED):
            await _answer(send, 404, "")
        elif scope["type"] == "http" and scope["method"] == "PUT" and (session := uploads.session_of(scope["path"])):
            await self._upload(session, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            with self._pages.opened(uploads.address_of(scope)):
                await self._app(scope, receive, send)
        except TooMuch as error:
            await receive()
            if "websocket.http.response" not in scope.get("extensions", {}):
                await send({"type": "websocket.close", "code": 1013})
                return
            await _answer(send, 503, str(error), kind="websocket.http.response")

    async def _upload(self, session: str, scope: Any, receive: Any, send: Any) -> None:
        has_begun = False

        async def noted(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            with self._uploads.arriving(session, _length(scope), uploads.address_of(scope)):
                async with asyncio.timeout(uploads.SECONDS):
                    await self._app(scope, receive, noted)
        except TooMuch as error:
            await _discard(receive)
            await _answer(send, 413, str(error))
        except TimeoutError:
            if has_begun:
                raise
            await _answer(send, 408, f"a file must arrive within {uploads.SECONDS:g} s")


def is_own_page(origin: str | None, host: str | None) -> bool:
    """Whether the browser's `Origin` equals the requested host and port."""
    if origin is None:
        return True
    return host is not None and _plain(urlsplit(origin).netloc) == _plain(host) != ""


def _plain(netloc: str) -> str:
    """Host and port, without the scheme's default port.

    A proxy's scheme is unknown here.
    """
    lower = netloc.lower()
    for port in _DEFAULT_PORTS:
        lower = lower.removesuffix(port)
    return lower


def _length(scope: Any) -> int | None:
    """The content length; None if it is missing or malformed."""
    text = _header(scope, b"content-length")
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else None


async def _discard(receive: Any) -> None:
    """Read and drop a rejected body for a short time.

    A browser that is cut off while sending does not see the response.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARDED_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass


async def _answer(send: Any, status: int, text: str, kind: str = "http.response") -> None:
    body = text.encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain; charset=utf-8")]
    if status != 404:  # what is left of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": f"{kind}.start", "status": status, "headers": headers})
    await send({"type": f"{kind}.body", "body": body})


def _header(scope: Any, name: bytes) -> str | None:
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None
