"""Untrusted pictures decoded in processes of their own, which may crash, swell or hang without harm to the server.

`Decoders` keeps a few such processes warm and replaces those that end. It knows how to ask them; `imgedit.images` alone
judges, here by the container and there by the pixels.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from imgedit import allocator, images
from imgedit.encoding import encode_png
from imgedit.errors import ImageRejected, Violation
from imgedit.headers import Header
from imgedit.images import Picture
from services.orchestrator import decoder, metrics

_log = logging.getLogger(__name__)

_PATIENCE = 10
"""A decoder that has not answered after so many times its limit of processor time is stuck and is ended."""

_PASSED_ON = ("LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")
"""Of the environment; no secret is."""


class Decoders:
    """Decodes up to `processes` pictures at once, each for up to `seconds` of processor time."""

    def __init__(self, processes: int, seconds: float) -> None:
        self._processes = processes
        self._seconds = seconds
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="decode")
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()

    async def start(self) -> None:
        """Start the processes and wait until they can decode."""
        for _ in range(self._processes):
            self._idle.put(_Decoder(self._seconds))
        picture = np.zeros((images.MIN_SIDE, images.MIN_SIDE, 3), np.uint8)
        data = encode_png(picture)
        await asyncio.gather(*(self.open(data, field="warm-up", max_pixels=1024) for _ in range(self._processes)))

    async def open(self, data: bytes, *, field: str, max_pixels: int) -> Picture:
        """As `images.open_untrusted`. Raises `ImageRejected`, also where decoding breaks a limit or the process."""
        try:
            header = await asyncio.to_thread(images.check, data, field=field, max_pixels=max_pixels)
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, data, header, field)
        except ImageRejected:
            await asyncio.to_thread(_log_refused, data, field)
            raise

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            self._idle.get().end()

    def _decode(self, data: bytes, header: Header, field: str) -> Picture:
        """On one of the threads: there are as many as processes, so one is idle."""
        worker = self._idle.get()
        if not worker.is_alive:
            worker = self._replacement(worker)
        try:
            return worker.decode(data, header, field)
        except _Lost as lost:
            worker = self._replacement(worker)
            raise lost.rejection from None
        finally:
            self._idle.put(worker)

    def _replacement(self, worker: _Decoder) -> _Decoder:
        worker.end()
        metrics.DECODERS_LOST.inc()
        return _Decoder(self._seconds)


class _Lost(Exception):
    """A decoder ended while it worked on a picture."""

    def __init__(self, rejection: ImageRejected) -> None:
        super().__init__(rejection.message)
        self.rejection = rejection


class _Decoder:
    """One process and the socket to it. Started by exec, never by a bare fork, which gRPC's threads do not survive."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_PATIENCE * seconds)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", decoder.__name__, str(theirs.fileno()), str(seconds)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=allocator.DECODER | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,  # a signal to the server's group is the server's to handle
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, header: Header, field: str) -> Picture:
        """One job. Raises `ImageRejected`, or `_Lost` with one where the process is of no more use."""
        pixels = header.width * header.height
        try:
            decoder.send(self._socket, {"field": field, "pixels": pixels, "bytes": len(data)}, memoryview(data))
            answer = decoder.receive(self._socket)
            if answer is not None and "width" in answer:
                return self._picture(answer, header)
        except (OSError, ValueError, KeyError, EOFError):  # gone, silent for too long, or out of its mind
            answer = None
        if answer is None:
            raise _Lost(self._autopsy(field))
        if "rejected" in answer:
            description = str(answer["rejected"])
            raise _rejected(field, description, str(answer["korean"]))
        raise _over_memory(field)

    def _picture(self, answer: dict[str, Any], header: Header) -> Picture:
        width, height = answer["width"], answer["height"]
        if sorted((width, height)) != sorted((header.width, header.height)):
            raise ValueError("the decoder answers with another size")
        rgb = np.empty((height, width, 3), np.uint8)
        alpha = np.empty((height, width), np.uint8) if answer["alpha"] else None
        for plane in (rgb, *([] if alpha is None else [alpha])):
            if not decoder.receive_into(self._socket, plane.reshape(-1).data):
                raise EOFError
        return Picture(rgb, alpha)

    def _autopsy(self, field: str) -> ImageRejected:
        """Why the process ended, as the caller may know it. One that did not end by itself is ended."""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            code = -signal.SIGPROF
        if code == -signal.SIGPROF:
            return _rejected(
                field,
                f"decoding takes longer than {self._seconds:g} s; save it as a plain PNG or baseline JPEG",
                "이미지를 푸는 데 너무 오래 걸립니다. 일반 PNG나 JPG로 다시 저장해 주세요.",
            )
        return _over_memory(field)

    def end(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _log_refused(data: bytes, field: str) -> None:
    """Enough to find the file again where it is kept, and nothing of what is in it."""
    digest = hashlib.sha256(data).hexdigest()
    _log.info("picture refused", extra={"field": field, "bytes": len(data), "sha256": digest})


def _over_memory(field: str) -> ImageRejected:
    return _rejected(
        field,
        "it cannot be decoded within the limits, so it is damaged or made to exhaust them; save it again",
        "이미지를 풀 수 없습니다. 손상되었을 수 있으니 다시 저장해 주세요.",
    )


def _rejected(field: str, description: str, korean: str) -> ImageRejected:
    return ImageRejected(f"{field}: {description}", korean=korean, violations=[Violation(field, description)])
