"""Middleware before Streamlit's routes.

The WebSocket's origin check, hidden routes.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

CLOSED = ("/_stcore/metrics",)
"""Endings of paths that are answered as if there were nothing: numbers about sessions and caches, for no visitor."""

_DEFAULT_PORTS = (":80", ":443")


class Door:
    """ASGI middleware that rejects cross-origin WebSockets with 403.

    Streamlit accepts the page's host and this machine on any port; this also compares the port. Programs send no
    Origin.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Reject, or pass on."""
        if scope["type"] == "websocket" and not is_own_page(_header(scope, b"origin"), _header(scope, b"host")):
            await receive()  # the connect message; closed without accepting, it becomes 403
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] == "http" and scope["path"].rstrip("/").endswith(CLOSED):
            await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, send)


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


def _header(scope: Any, name: bytes) -> str | None:
    values = [value.decode("latin-1") for key, value in scope["headers"] if key == name]
    return ", ".join(values) if values else None
