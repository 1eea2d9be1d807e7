"""Records of the stacks that run on this machine.

`imgedit up` writes them; `imgedit status` and `imgedit stop` read them. A record is a file in the folder for temporary
files, which its stack holds locked. The system unlocks it however the stack ends, so an unlocked record is stale.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

MAX_RECORD_BYTES = 64 * 1024

_ATTEMPTS, _PAUSE_SECONDS = 10, 0.05


@dataclass(frozen=True)
class Record:
    """A running stack.

    started: seconds since 1970. programs: where each listens. ready_at: port and path of the plain HTTP readiness of
    those that have one. ready: whether all have served.
    """

    base_port: int
    pid: int
    started: float
    logs: str
    programs: dict[str, str] = field(default_factory=dict)
    ready: bool = False
    ready_at: dict[str, tuple[int, str]] = field(default_factory=dict)


class InUse(Exception):
    """Another stack of this user has the same base port."""


class Held:
    """The record of this process's own stack."""

    def __init__(self, descriptor: int, record: Record) -> None:
        self._descriptor = descriptor
        self.record = record

    def write(self, record: Record) -> None:
        """Replace what the record says."""
        self.record = record
        data = json.dumps(asdict(record)).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, data, 0)


@contextlib.contextmanager
def held_record(record: Record) -> Iterator[Held]:
    """Hold the record of a stack while it runs.

    Raises `InUse`, and OSError if the record cannot be written.
    """
    path = _path(record.base_port)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(descriptor).st_uid != os.getuid():
            raise PermissionError(f"{path} belongs to another user")
        _lock(descriptor, record.base_port)
        own = Held(descriptor, record)
        own.write(record)
        try:
            yield own
        finally:
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def running_stacks() -> list[Record]:
    """The stacks of this user that run now, by their base ports."""
    records = [_read(path) for path in Path(tempfile.gettempdir()).glob(_path("*").name)]
    return sorted((record for record in records if record is not None), key=lambda record: record.base_port)


def wait_until_gone(record: Record, timeout: float, pause: float = 0.1) -> bool:
    """Whether a stack has ended within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    path = _path(record.base_port)
    while (now := _read(path)) is not None and now.pid == record.pid:
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True


def _lock(descriptor: int, base_port: int) -> None:
    for _ in range(_ATTEMPTS):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_PAUSE_SECONDS)  # readers hold the record for an instant only
    raise InUse(f"`imgedit up` runs already on port {base_port}; `imgedit stop` ends it")


def _path(base_port: int | str) -> Path:
    return Path(tempfile.gettempdir(), f"imgedit-up-{os.getuid()}-{base_port}.json")


def _read(path: Path) -> Record | None:
    """The record that a running stack of this user holds; None for any other file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid() or not stat.S_ISREG(status.st_mode):
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Record(**json.loads(os.read(descriptor, MAX_RECORD_BYTES)))
        return None  # nobody holds it: left over from a stack that was killed
    except (ValueError, TypeError):
        return None  # being written just now
    finally:
        os.close(descriptor)
