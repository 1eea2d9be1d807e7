"""What stands before Streamlit's own routes: whom the page's WebSocket takes, how much may be uploaded, what is hidden.

Knows ASGI, and of Streamlit its paths alone.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from studio import uploads
from studio.uploads import TooMuch, Uploads

CLOSED = ("/_stcore/metrics",)
"""Endings of paths that are answered as if there were nothing: numbers about sessions and caches, for no visitor."""

DISCARDED_SECONDS = 10.0

_DEFAULT_PORTS = (":80", ":443")


class Door:
    """ASGI middleware.

    A WebSocket that a browser opens for another page, also for one on another port of the same host, is refused with
    403. Streamlit takes those of the page's host and of this machine, whatever the port. Programs send no Origin.
    An upload for which there is no room is refused with 413, one that takes too long with 408.
    """

    def __init__(self, app: Any, uploads: Uploads) -> None:
        self._app = app
        self._uploads = uploads

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Refuse, or pass on."""
        if scope["type"] == "websocket" and not is_own_page(_header(scope, b"origin"), _header(scope, b"host")):
            await receive()  # the request to connect; closed unaccepted, it is answered with 403
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and scope["path"].rstrip("/").endswith(CLOSED):
            await _answer(send, 404, "")
        elif scope["type"] == "http" and scope["method"] == "PUT" and (session := uploads.session_of(scope["path"])):
            await self._upload(session, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _upload(self, session: str, scope: Any, receive: Any, send: Any) -> None:
        has_begun = False

        async def noted(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            with self._uploads.arriving(session, _length(scope)):
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
    """Whether the page that a browser names as `Origin` has the host and port that it was asked at."""
    if origin is None:
        return True
    return host is not None and _plain(urlsplit(origin).netloc) == _plain(host) != ""


def _plain(netloc: str) -> str:
    """Host and port, without the port where it is a scheme's own: which scheme a proxy had is not known here."""
    lower = netloc.lower()
    for port in _DEFAULT_PORTS:
        lower = lower.removesuffix(port)
    return lower


def _length(scope: Any) -> int | None:
    """The bytes of a body, where it says how many."""
    text = _header(scope, b"content-length")
    return int(text) if text is not None and text.isdecimal() and len(text) < 16 else None


async def _discard(receive: Any) -> None:
    """Read a refused body for a short time and keep nothing: a browser that is cut off does not see the answer."""
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARDED_SECONDS):
            while (message := await receive())["type"] == "http.request" and message.get("more_body"):
                pass


async def _answer(send: Any, status: int, text: str) -> None:
    body = text.encode()
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", b"text/plain; charset=utf-8")]
    if status != 404:  # what is left of the body is not read
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _header(scope: Any, name: bytes) -> str | None:
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None
