"""Sessions that a browser can resume after a refresh or a lost connection.

A session is kept with its values under an id that only its tab knows, for a bounded time and within bounded memory.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from studio.session import Session

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass
class _Kept:
    session: Session
    used: float


class Visits:
    """Sessions by owner and id; thread-safe.

    The least recently used is dropped first, and its running edits are cancelled.
    """

    def __init__(self, keep_seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Create the store.

        keep_seconds: after the last use; 0 = nothing is kept. max_bytes: of the images of all sessions.
        """
        self._keep_seconds = keep_seconds
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], _Kept] = {}

    def find(self, owner: str, id: str) -> Session | None:
        """The visit of this id, if it is kept and belongs to `owner`."""
        with self._lock:
            self._drop_old()
            found = self._kept.get((owner, id))
            return found.session if found else None

    def keep(self, owner: str, id: str, session: Session) -> None:
        """Keep a session, or mark it as used.

        Foreign ids are rejected.
        """
        if not self._keep_seconds or not _ID.fullmatch(id):
            return
        with self._lock:
            self._kept.pop((owner, id), None)
            self._kept[owner, id] = _Kept(session, self._clock())
            self._drop_old()

    def _drop_old(self) -> None:
        """The order of the dictionary is that of the last use."""
        oldest_use = self._clock() - self._keep_seconds
        total = sum(kept.session.byte_count for kept in self._kept.values())
        for key, kept in list(self._kept.items()):
            if kept.used >= oldest_use and total <= self._max_bytes:
                return
            total -= kept.session.byte_count
            del self._kept[key]
