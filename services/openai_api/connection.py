"""HTTP/1.1 connections that slow callers cannot hold.

uvicorn has no time limit for a request's headers, nor for closing a connection with unread data.
"""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol


def connections(head_seconds: float) -> type[H11Protocol]:
    """The connection class, with a time limit for the headers of each request.

    `cut` in the scope's state aborts the connection and drops unread data.
    """

    class Connection(H11Protocol):
        _head_task: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.app_state = {**self.app_state, "cut": transport.abort}
            self._watch_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch_head()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._unwatch_head()

        def on_response_complete(self) -> None:
            if self.transport.get_write_buffer_size():
                self.loop.call_later(self.timeout_keep_alive, self._cut_unread)
            super().on_response_complete()

        def _cut_unread(self) -> None:
            """Abort if a response is unread, since an orderly close would wait."""
            if self.transport.get_write_buffer_size() and (self.cycle is None or self.cycle.response_complete):
                self.transport.abort()

        def _watch_head(self) -> None:
            """Start or stop the time limit for headers."""
            if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
                self._unwatch_head()
            elif self._head_task is None:
                self._head_task = self.loop.call_later(head_seconds, self.transport.abort)

        def _unwatch_head(self) -> None:
            if self._head_task is not None:
                self._head_task.cancel()
                self._head_task = None

    return Connection
