"""gRPC calls written byte by byte, as no gRPC library would send them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

EMPTY = b"\0\0\0\0\0"
"""An empty message as gRPC frames it."""

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4


async def call(
    port: int,
    path: bytes,
    trailers: Mapping[bytes, bytes] | None = None,
    *,
    further: Mapping[bytes, bytes] | None = None,
) -> None:
    """Send an empty message to a path of any bytes.

    Returns when an answer has begun, or the connection has ended.
    """
    headers = {b":method": b"POST", b":scheme": b"http", b":authority": b"x", b":path": path, b"te": b"trailers"}
    headers |= {b"content-type": b"application/grpc", **(further or {})}
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, b""))
    writer.write(_frame(HEADERS, END_HEADERS, 1, _block(headers)))
    writer.write(_frame(DATA, 0 if trailers else END_STREAM, 1, EMPTY))
    if trailers:
        writer.write(_frame(HEADERS, END_HEADERS | END_STREAM, 1, _block(trailers)))
    stream = 0
    try:
        while stream != 1:
            head = await asyncio.wait_for(reader.readexactly(9), 30)
            await reader.readexactly(int.from_bytes(head[:3]))
            stream = int.from_bytes(head[5:])
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _block(headers: Mapping[bytes, bytes]) -> bytes:
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in headers.items())


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload
