"""Misbehaving gRPC calls as bytes of HTTP/2 on a socket."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from types import TracebackType

_DATA, _HEADERS, _RESET, _SETTINGS = 0, 1, 3, 4
_END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4
_FRAME = 16_384
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CANCEL = struct.pack(">I", 8)


class RawCall:
    """One call on its own connection, half sent or never read (`window` 0).

    A message has up to 60 KB, the initial window of the other side.
    """

    def __init__(
        self,
        port: int,
        method: str,
        message: bytes,
        *,
        announced: int | None = None,
        window: int = 65_535,
        token: str = "",
    ) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        settings = struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)
        size = len(message) if announced is None else announced
        body = b"\0" + struct.pack(">I", size) + message
        self._socket.sendall(
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_HEADERS, _END_HEADERS, 1, _headers(method, token))
            + b"".join(_frame(_DATA, 0, 1, body[place : place + _FRAME]) for place in range(0, len(body), _FRAME))
            + _frame(_DATA, _END_STREAM if size == len(message) else 0, 1, b"")
        )

    def __enter__(self) -> RawCall:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def until_ended(self, seconds: float) -> bool:
        """Whether the call or its connection is ended within so many seconds."""
        self._socket.settimeout(seconds)
        try:
            while head := self._exactly(9):
                kind, flags, stream = head[3], head[4], struct.unpack(">I", head[5:])[0]
                self._exactly(int.from_bytes(head[:3], "big"))
                if stream == 1 and (kind == _RESET or (kind in (_DATA, _HEADERS) and flags & _END_STREAM)):
                    return True
        except TimeoutError:
            return False
        except ConnectionError:
            pass
        return True

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self._socket.recv(count - len(data))
            if not part:
                return b""
            data += part
        return data


def open_and_reset(port: int, method: str, stop: threading.Event) -> None:
    """Open streams on one connection and reset each at once, until stopped or cut off."""
    block = _headers(method)
    with socket.create_connection(("127.0.0.1", port)) as connection, suppress(OSError):
        threading.Thread(target=_drain, args=(connection,), daemon=True).start()
        connection.sendall(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        for first in range(1, 200_001, 200):
            if stop.wait(0.002):
                return
            streams = range(first, first + 200, 2)
            connection.sendall(
                b"".join(_frame(_HEADERS, _END_HEADERS, n, block) + _frame(_RESET, 0, n, _CANCEL) for n in streams)
            )


def _drain(connection: socket.socket) -> None:
    with suppress(OSError):
        while connection.recv(65_536):
            pass


def _headers(method: str, token: str = "") -> bytes:
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": method,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        **({"authorization": f"Bearer {token}"} if token else {}),
    }
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())


def _text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload
