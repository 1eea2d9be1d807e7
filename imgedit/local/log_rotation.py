"""Rotate the logs of a stack on one machine by size, and drop the oldest.

The programs keep their files open for appending, so a file is copied and emptied in its place, as logrotate's
copytruncate does it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_LOG_BYTES = 20 * 1024 * 1024
KEPT_LOGS = 4
"""Older parts of a log: `fill.log.1` is the newest of them."""


def rotate(log: Path, *, max_bytes: int = MAX_LOG_BYTES, kept: int = KEPT_LOGS) -> bool:
    """Rotate a log over `max_bytes`; return whether it was rotated.

    Lines that arrive during the copy are copied too.
    """
    try:
        if log.stat().st_size <= max_bytes:
            return False
    except FileNotFoundError:
        return False
    for number in range(kept - 1, 0, -1):
        older = _part(log, number)
        if older.exists():
            older.replace(_part(log, number + 1))
    with log.open("r+b") as source, _part(log, 1).open("wb") as copy:
        shutil.copyfileobj(source, copy)  # to the end, wherever that is by then
        os.ftruncate(source.fileno(), 0)
    return True


def _part(log: Path, number: int) -> Path:
    return log.with_name(f"{log.name}.{number}")
