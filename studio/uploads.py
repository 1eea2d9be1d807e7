"""How much visitors may upload: Streamlit holds every file in memory until its session ends, however many there are.

Knows of Streamlit the path of an upload and where it keeps the files.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from studio.settings import MAX_UPLOAD_MIB

SECONDS = 900.0
"""Longest that one file may take to arrive: 64 MiB in that time are 0.6 Mbit/s."""

MAX_FILE_BYTES = (MAX_UPLOAD_MIB + 1) * 1024 * 1024
"""With the form around it; Streamlit takes no more."""

_PATH = re.compile(r".*/_stcore/upload_file/([^/]+)/[^/]+/?")


class TooMuch(Exception):
    """An upload has no room. The message says why."""


class Uploads:
    """Bytes of uploads, those that are kept and those that are arriving. Belongs to one event loop."""

    def __init__(self, kept: Callable[[], Mapping[str, int]], per_session: int, most: int) -> None:
        """kept: bytes of the files of each session. per_session, most: of one session, and of all."""
        self._kept = kept
        self._per_session = per_session
        self._most = most
        self._arriving: Counter[str] = Counter()

    @contextmanager
    def arriving(self, session: str, size: int | None) -> Iterator[None]:
        """A file of this size arrives inside; None = it does not say. Raises `TooMuch`."""
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
    """The session that a file is uploaded for; None for the path of anything else."""
    match = _PATH.fullmatch(path)
    return match[1] if match else None


def kept_by_streamlit() -> dict[str, int]:
    """Bytes of the files that Streamlit keeps for each session."""
    from streamlit.runtime import Runtime
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

    manager = Runtime.instance().uploaded_file_mgr
    if not isinstance(manager, MemoryUploadedFileManager):
        raise TypeError(f"Streamlit keeps uploads in {type(manager).__name__}, whose bytes cannot be counted")
    return {
        session: sum(len(file.data) for file in [*files.values()]) for session, files in [*manager.file_storage.items()]
    }
