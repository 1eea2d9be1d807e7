"""Memory limits of uploads.

Streamlit holds every file in memory until its session ends, without a limit on their number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from studio.settings import MAX_UPLOAD_MIB

SECONDS = 900.0
"""Time limit of one upload: 64 MiB at 0.6 Mbit/s."""

MAX_FILE_BYTES = (MAX_UPLOAD_MIB + 1) * 1024 * 1024
"""Streamlit's limit, with the form around the file."""

_PATH = re.compile(r".*/_stcore/upload_file/([^/]+)/[^/]+/?")


class TooMuch(Exception):
    """An upload beyond the memory limits."""


class Uploads:
    """Bytes of stored and arriving uploads.

    Not thread-safe: one event loop owns it.
    """

    def __init__(self, kept: Callable[[], Mapping[str, int]], per_session: int, most: int) -> None:
        """Limit uploads to `per_session` and `most` bytes.

        `kept` returns the stored bytes of each session.
        """
        self._kept = kept
        self._per_session = per_session
        self._most = most
        self._arriving: Counter[str] = Counter()

    @contextmanager
    def arriving(self, session: str, size: int | None) -> Iterator[None]:
        """Reserve room for a file while it arrives.

        `size` None = unknown. Raises `TooMuch`.
        """
        taken = MAX_FILE_BYTES if size is None else min(size, MAX_FILE_BYTES)
        held = Counter(self._kept()) + self._arriving
        for has, most, whose in (
            (held[session], self._per_session, "of this visit "),
            (held.total(), self._most, ""),
        ):
            if has + taken > most:
                raise TooMuch(f"the uploads {whose}take {has} bytes already, at most {most} are held; remove some")
        self._arriving[session] += taken
        try:
            yield
        finally:
            self._arriving[session] -= taken
            if not self._arriving[session]:
                del self._arriving[session]


def session_of(path: str) -> str | None:
    """The session of an upload's path; None for other paths."""
    match = _PATH.fullmatch(path)
    return match[1] if match else None


def kept_by_streamlit() -> dict[str, int]:
    """The stored bytes of each session."""
    from streamlit.runtime import Runtime
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

    manager = Runtime.instance().uploaded_file_mgr
    if not isinstance(manager, MemoryUploadedFileManager):
        raise TypeError(f"Streamlit keeps uploads in {type(manager).__name__}, whose bytes cannot be counted")
    return {
        session: sum(len(file.data) for file in [*files.values()]) for session, files in [*manager.file_storage.items()]
    }
