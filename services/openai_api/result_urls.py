"""Results behind unguessable URLs.

They are kept in memory, bounded in bytes and time.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from imgedit.errors import RequestTooLarge
from services.common.settings import MIB
from services.openai_api import metrics


@dataclass(frozen=True)
class Kept:
    """A file, until when it is kept, on the `time.monotonic` clock, and whose it is."""

    data: bytes
    format: str
    ends_at: float
    owner: Hashable


class Results:
    """Keeps files for a while.

    Above the limit of bytes, the oldest files of the caller with the most bytes go first.
    """

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes: Counter[Hashable] = Counter()

    def put(self, data: bytes, format: str, owner: Hashable = None) -> str:
        """Keep a file and return its name.

        Raises `RequestTooLarge` for a file above the whole limit.
        """
        if len(data) > self._max_bytes:
            limit = self._max_bytes / MIB
            raise RequestTooLarge(
                f"response_format: the result has {len(data) / MIB:.1f} MiB and at most {limit:g} MiB are kept behind "
                "URLs; ask for b64_json"
            )
        self._forget_old(self._max_bytes - len(data))
        name = f"{secrets.token_urlsafe(32)}.{format}"
        self._kept[name] = Kept(data, format, time.monotonic() + self._seconds, owner)
        self._count(owner, len(data))
        return name

    def get(self, name: str) -> Kept | None:
        """The file of this name; None where there is none any more."""
        self._forget_old(self._max_bytes)
        return self._kept.get(name)

    def _forget_old(self, max_bytes: int) -> None:
        now = time.monotonic()
        while self._kept and next(iter(self._kept.values())).ends_at <= now:
            self._forget(next(iter(self._kept)))
        while self._bytes.total() > max_bytes:
            most = max(self._bytes, key=lambda owner: self._bytes[owner])
            self._forget(next(name for name, kept in self._kept.items() if kept.owner == most))

    def _forget(self, name: str) -> None:
        kept = self._kept.pop(name)
        self._count(kept.owner, -len(kept.data))

    def _count(self, owner: Hashable, change: int) -> None:
        self._bytes[owner] += change
        if not self._bytes[owner]:
            del self._bytes[owner]
        metrics.URL_BYTES.set(self._bytes.total())
