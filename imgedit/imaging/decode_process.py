"""The process that decodes untrusted images.

`python -m imgedit.imaging.decode_process FD SECONDS`. It takes jobs from a socket, one at a time, and returns pixels or
a rejection. Each job has a memory and CPU-time limit, beyond which the process ends; `decode_pool.py` then starts
another. It ends with its parent. A message is a length, a JSON object of that length, and raw bytes.
"""

from __future__ import annotations

import io
import json
import resource
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from imgedit.errors import ImageRejected
from imgedit.imaging import containers, images, photos
from imgedit.imaging.images import Picture

BYTES_PER_PIXEL = 24
"""Memory for decoding: WebP's decoder holds up to 16 bytes a pixel, a progressive JPEG's 12; then the result."""

SPARE_BYTES = 96 * 1024 * 1024
"""On top of that, whatever the size: the file, its colour profile's tables, what the libraries take."""

_STATM = Path("/proc/self/statm")
_LENGTH = struct.Struct(">I")


def main(fd: int, seconds: float) -> None:
    """Serve until the other end is closed."""
    _confine()
    _warm_up()
    with socket.socket(fileno=fd) as connection:
        while (job := receive(connection)) is not None:
            data = receive_exactly(connection, job.pop("bytes"))
            _limit(job["pixels"], job.get("bytes_per_pixel", BYTES_PER_PIXEL), seconds)
            send(connection, *_answer(data, job))
            signal.setitimer(signal.ITIMER_PROF, 0)


def send(connection: socket.socket, message: dict[str, Any], *parts: memoryview) -> None:
    """A message, and the raw bytes that belong to it."""
    body = json.dumps(message).encode()
    connection.sendall(_LENGTH.pack(len(body)) + body)
    for part in parts:
        connection.sendall(part)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """A message without its raw bytes; None if the socket is closed."""
    length = receive_exactly(connection, _LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    body = receive_exactly(connection, _LENGTH.unpack(length)[0])
    return json.loads(body) if body else None


def receive_exactly(connection: socket.socket, count: int) -> bytearray:
    """This many bytes; empty if the socket closes first."""
    received = bytearray(count)
    return received if receive_into(connection, memoryview(received)) else bytearray()


def receive_into(connection: socket.socket, room: memoryview) -> bool:
    """Fill the buffer; False if the socket closes first."""
    place = 0
    while place < len(room):
        count = connection.recv_into(room[place:], 0, socket.MSG_WAITALL)
        if count == 0:
            return False
        place += count
    return True


def _answer(data: bytearray, job: dict[str, Any]) -> tuple[Any, ...]:
    """Decode a file; the parent has checked its header, which is parsed again here."""
    file = bytes(data)
    try:
        if "convert" in job:
            photo = photos.convert(file, field=job["field"], **job["convert"])
            described = {"size": photo.size, "original": photo.original, "kind": photo.kind, "file": len(photo.data)}
            return described, memoryview(photo.data)
        header = containers.read(file)
        if header is None:
            raise ImageRejected.field(job["field"], "is not a PNG, JPEG or WebP file")
        picture = images.decode(file, header, field=job["field"])
    except ImageRejected as refusal:
        return ({"rejected": refusal.violations[0].description, "korean": refusal.korean},)
    except MemoryError:
        return ({"exhausted": True},)
    width, height = picture.size
    alpha = [] if picture.alpha is None else [_raw(picture.alpha)]
    return ({"width": width, "height": height, "alpha": bool(alpha)}, _raw(picture.rgb), *alpha)


def _raw(pixels: images.Pixels) -> memoryview:
    return np.ascontiguousarray(pixels).reshape(-1).data


def _confine() -> None:
    """Forbid core files, writing, and more than a few open files."""
    for limit, value in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, 64)):
        resource.setrlimit(limit, (value, value))


def _limit(pixels: int, bytes_per_pixel: int, seconds: float) -> None:
    """Set the limits of one job.

    SIGPROF ends the process after its CPU time, even inside a library. The memory limit needs Linux.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    if not _STATM.exists():
        return
    data_pages = int(_STATM.read_text(encoding="ascii").split()[5])
    limit = data_pages * resource.getpagesize() + bytes_per_pixel * pixels + SPARE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (limit, resource.RLIM_INFINITY))


def _warm_up() -> None:
    """Load the code that the first image would load."""
    for format in ("PNG", "JPEG", "WEBP"):
        buffer = io.BytesIO()
        Image.new("RGB", (16, 16)).save(buffer, format)
        picture: Picture = images.open_untrusted(buffer.getvalue(), field="warm-up")
        if picture.size != (16, 16):
            raise RuntimeError(f"{format} cannot be decoded here")


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
