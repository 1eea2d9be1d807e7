"""A value read from files and reloaded when they change.

The check happens on access, at most once a second, so no background work runs.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from imgedit.errors import SettingsError

T = TypeVar("T")

CHECK_SECONDS = 1.0
"""Shortest time between two looks at the files."""

_Version = tuple[tuple[int, int, int] | None, ...]

_log = logging.getLogger(__name__)


class Watched(Generic[T]):
    """The result of `read(paths)`, reloaded on change.

    Thread-safe. The first read raises its errors. A later failure is logged, reported to `on_fault`, and leaves the
    value unchanged: a half-written file locks nobody out.
    """

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], T], *, on_fault: Callable[[], None] = lambda: None
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._on_fault = on_fault
        self._lock = threading.Lock()
        self._seen = self._version()
        self._looked = time.monotonic()
        self._value = read()

    def get(self) -> T:
        """The current value."""
        with self._lock:
            if time.monotonic() - self._looked >= CHECK_SECONDS:
                self._look()
            return self._value

    def _look(self) -> None:
        # Taken before the read, so that a concurrent write triggers the next reload.
        version, self._looked = self._version(), time.monotonic()
        if version == self._seen:
            return
        self._seen = version
        names = ", ".join(map(str, self._paths))
        try:
            self._value = self._read()
        except (OSError, ValueError, SettingsError) as error:
            _log.error("%s changed but cannot be used, what was read before stays in force: %s", names, error)
            self._on_fault()
            return
        _log.info("read %s again", names)

    def _version(self) -> _Version:
        return tuple(_file_version(path) for path in self._paths)


def _file_version(path: Path) -> tuple[int, int, int] | None:
    """Changes when the file is written or replaced; None without a file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
