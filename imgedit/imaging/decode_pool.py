"""Decode untrusted images in subprocesses, isolated from crashes and hangs.

`Decoders` keeps a few processes warm and replaces those that end. `imgedit.imaging.images` checks the container here
and the pixels there.
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
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np

from imgedit.errors import ImageRejected, QueueFull, ServiceUnavailable
from imgedit.imaging import decode_process, images, photos
from imgedit.imaging.containers import Header
from imgedit.imaging.encoding import encode_png
from imgedit.imaging.images import Picture
from imgedit.imaging.photos import Photo
from imgedit.imaging.turns import Turns
from imgedit.local import malloc

_log = logging.getLogger(__name__)

T = TypeVar("T")

_START_SECONDS = 60.0
"""Longest that a process may take until it answers for the first time, on a machine that does much else."""

_PATIENCE = 10
"""A decoder that has not answered after so many times its limit of processor time is stuck and is ended."""

_PASSED_ON = ("LANG", "LD_LIBRARY_PATH", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "SYSTEMROOT", "TMPDIR")
"""Of the environment; no secret is."""

_RUNS = 2
"""An image whose process is killed from outside is decoded again."""

_OWN_SIGNALS = {
    signal.SIGPROF,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSYS,
    signal.SIGTRAP,
}
"""By which a process ends over its picture: at a limit, or by a fault of the library. Others come from outside, such
as the SIGKILL of a kernel that is out of memory."""


class Decoders:
    """Decodes up to `processes` images at once, each for up to `seconds` of CPU time.

    Callers take turns, and none has all processes, so nobody waits behind all images of another. `on_lost` is called
    for each replaced process.
    """

    def __init__(self, processes: int, seconds: float, *, on_lost: Callable[[], None] = lambda: None) -> None:
        self._processes = processes
        self._seconds = seconds
        self._on_lost = on_lost
        self._turns = Turns(processes, max(1, processes - 1), "decode")
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()

    async def start(self) -> None:
        """Start the processes and wait until they can decode.

        Otherwise each starts with its first image.
        """
        for _ in range(self._processes):
            self._idle.put(_Decoder(self._seconds))
        data = encode_png(np.zeros((images.MIN_SIDE, images.MIN_SIDE, 3), np.uint8))
        numbers = range(self._processes)
        await asyncio.gather(*(self.open(data, field="warm-up", max_pixels=1024, caller=n) for n in numbers))

    async def open(self, data: bytes, *, field: str, max_pixels: int, caller: Hashable = "") -> Picture:
        """Check and decode like `images.open_untrusted`.

        Raises `ImageRejected`, also if decoding breaks a limit or the process, and `ServiceUnavailable` if processes
        were killed from outside, which says nothing about the image.
        """
        try:
            header = await asyncio.to_thread(images.check, data, field=field, max_pixels=max_pixels)
            return await asyncio.wrap_future(self._submit(caller, data, header, field))
        except ImageRejected:
            await asyncio.to_thread(_log_refused, data, field)
            raise

    def open_in_thread(
        self, data: bytes, *, field: str, max_pixels: int, caller: Hashable, patience: float
    ) -> tuple[Picture, Header]:
        """Like `open`, for a thread, which blocks.

        Also raises `QueueFull` after `patience` seconds.
        """
        header = images.check(data, field=field, max_pixels=max_pixels)
        return self.decode_in_thread(data, header, field=field, caller=caller, patience=patience), header

    def decode_in_thread(
        self, data: bytes, header: Header, *, field: str, caller: Hashable, patience: float
    ) -> Picture:
        """Like `open_in_thread`, for a file whose header the caller has checked itself."""
        return _waited_for(self._submit(caller, data, header, field), data, field, patience)

    def convert_in_thread(self, data: bytes, *, field: str, max_bytes: int, caller: Hashable, patience: float) -> Photo:
        """As `photos.convert`, for a thread, which waits. Raises as `open_in_thread`."""
        job = {
            "pixels": photos.MAX_PIXELS,
            "bytes_per_pixel": photos.BYTES_PER_PIXEL,
            "convert": {"max_bytes": max_bytes},
        }
        work = self._turns.submit(caller, lambda: self._run(lambda decoder: decoder.convert(data, job, field), field))
        return _waited_for(work, data, field, patience)

    def close(self) -> None:
        """End the processes."""
        self._turns.close()
        while not self._idle.empty():
            self._idle.get().end()

    def _submit(self, caller: Hashable, data: bytes, header: Header, field: str) -> Future[Picture]:
        return self._turns.submit(caller, lambda: self._run(lambda decoder: decoder.decode(data, header, field), field))

    def _run(self, work: Callable[[_Decoder], T], field: str) -> T:
        """Where a process is ended from outside, another one gets the picture, once."""
        for _ in range(_RUNS):
            worker = self._idle_one()
            try:
                found = work(worker)
            except _Lost as lost:
                self._replace(worker)
                if lost.rejection is not None:
                    raise lost.rejection from None
                continue
            except ImageRejected:
                self._idle.put(worker)
                raise
            self._idle.put(worker)
            return found
        raise ServiceUnavailable(
            f"{field}: the processes that decode pictures were ended from outside, so it was not judged; send it again",
            korean="이미지를 푸는 중에 프로세스가 종료되었습니다. 같은 요청을 다시 보내 주세요.",
        )

    def _idle_one(self) -> _Decoder:
        """Take an idle process, or start one.

        There are as many threads as processes.
        """
        with suppress(queue.Empty):
            worker = self._idle.get_nowait()
            if worker.is_alive:
                return worker
            worker.end()
            self._on_lost()
        try:
            return _Decoder(self._seconds)
        except OSError as error:
            _log.error("no decoder can be started", exc_info=error)
            raise ServiceUnavailable("no process can be started that decodes pictures; try again later") from None

    def _replace(self, worker: _Decoder) -> None:
        worker.end()
        self._on_lost()
        with suppress(OSError):  # the next image starts another process
            self._idle.put(_Decoder(self._seconds))


class _Lost(Exception):
    """A decoder ended while it worked on an image.

    rejection: None if the image did not cause it.
    """

    def __init__(self, rejection: ImageRejected | None) -> None:
        super().__init__()
        self.rejection = rejection


class _Decoder:
    """One process and the socket to it.

    Started by exec, never by a bare fork, which gRPC's threads do not survive.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_PATIENCE * seconds + _START_SECONDS)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", decode_process.__name__, str(theirs.fileno()), str(seconds)],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=malloc.DECODER | {name: os.environ[name] for name in _PASSED_ON if name in os.environ},
                start_new_session=True,  # a signal to the server's group is the server's to handle
            )

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def decode(self, data: bytes, header: Header, field: str) -> Picture:
        """One job. Raises `ImageRejected`, or `_Lost` where the process is of no more use."""
        job = {"pixels": header.width * header.height}
        return self._ask(data, job, field, "width", lambda answer: self._picture(answer, header))

    def convert(self, data: bytes, job: dict[str, Any], field: str) -> Photo:
        """One job, likewise."""
        return self._ask(data, job, field, "file", self._photo)

    def _ask(self, data: bytes, job: dict[str, Any], field: str, key: str, read: Callable[[dict[str, Any]], T]) -> T:
        """Send a job; an answer that holds `key` is read."""
        try:
            decode_process.send(self._socket, {**job, "field": field, "bytes": len(data)}, memoryview(data))
            answer = decode_process.receive(self._socket)
            self._socket.settimeout(_PATIENCE * self._seconds)  # it has started
            if answer is not None and key in answer:
                return read(answer)
        except TimeoutError:  # without using its processor time: stopped, or the machine stands still
            raise _Lost(None) from None
        except (OSError, ValueError, KeyError, EOFError):  # gone or malfunctioning
            answer = None
        if answer is None:
            raise _Lost(self._autopsy(field))
        if "rejected" in answer:
            description = str(answer["rejected"])
            raise ImageRejected.field(field, description, korean=str(answer["korean"]))
        raise _over_memory(field)

    def _picture(self, answer: dict[str, Any], header: Header) -> Picture:
        width, height = answer["width"], answer["height"]
        if sorted((width, height)) != sorted((header.width, header.height)):
            raise ValueError("the decoder answers with another size")
        rgb = np.empty((height, width, 3), np.uint8)
        alpha = np.empty((height, width), np.uint8) if answer["alpha"] else None
        for plane in (rgb, *([] if alpha is None else [alpha])):
            if not decode_process.receive_into(self._socket, plane.reshape(-1).data):
                raise EOFError
        return Picture(rgb, alpha)

    def _photo(self, answer: dict[str, Any]) -> Photo:
        file = decode_process.receive_exactly(self._socket, int(answer["file"]))
        if len(file) != answer["file"]:
            raise EOFError
        (width, height), original = answer["size"], answer["original"]
        return Photo(bytes(file), (int(width), int(height)), (int(original[0]), int(original[1])), str(answer["kind"]))

    def _autopsy(self, field: str) -> ImageRejected | None:
        """Why the process ended, as the rejection for the caller.

        None if something else ended it.
        """
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:  # a response that does not fit the request
            return _over_memory(field)
        if code == -signal.SIGPROF:
            return ImageRejected.field(
                field,
                f"decoding takes longer than {self._seconds:g} s; save it as a plain PNG or baseline JPEG",
                korean="이미지를 푸는 데 너무 오래 걸립니다. 일반 PNG나 JPG로 다시 저장해 주세요.",
            )
        is_from_outside = code < 0 and -code not in _OWN_SIGNALS
        return None if is_from_outside else _over_memory(field)

    def end(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _waited_for(work: Future[T], data: bytes, field: str, patience: float) -> T:
    try:
        return work.result(patience)
    except TimeoutError:
        work.cancel()
        raise QueueFull(f"{field}: too many pictures wait to be decoded; try again later") from None
    except ImageRejected:
        _log_refused(data, field)
        raise


def _log_refused(data: bytes, field: str) -> None:
    """Identify the file without its content, to find it again."""
    digest = hashlib.sha256(data).hexdigest()
    _log.info("picture refused", extra={"field": field, "bytes": len(data), "sha256": digest})


def _over_memory(field: str) -> ImageRejected:
    return ImageRejected.field(
        field,
        "it cannot be decoded within the limits, so it is damaged or made to exhaust them; save it again",
        korean="이미지를 풀 수 없습니다. 손상되었을 수 있으니 다시 저장해 주세요.",
    )
