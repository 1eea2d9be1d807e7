"""Results behind unguessable URLs.

They are kept in memory, bounded in bytes and time.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from dataclasses import dataclass

from imgedit.errors import RequestTooLarge
from services.common.settings import MIB
from services.openai_api import metrics


@dataclass(frozen=True)
class Kept:
    """A file and until when it is kept, on the `time.monotonic` clock."""

    data: bytes
    format: str
    ends_at: float


class Results:
    """Keeps files for a while; the oldest go first where there are too many bytes."""

    def __init__(self, seconds: float, max_bytes: int) -> None:
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._bytes = 0

    def put(self, data: bytes, format: str) -> str:
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
        self._kept[name] = Kept(data, format, time.monotonic() + self._seconds)
        self._count(len(data))
        return name

    def get(self, name: str) -> Kept | None:
        """The file of this name; None where there is none any more."""
        self._forget_old(self._max_bytes)
        return self._kept.get(name)

    def _forget_old(self, max_bytes: int) -> None:
        now = time.monotonic()
        while self._kept and (self._bytes > max_bytes or next(iter(self._kept.values())).ends_at <= now):
            _, oldest = self._kept.popitem(last=False)
            self._count(-len(oldest.data))

    def _count(self, change: int) -> None:
        self._bytes += change
        metrics.URL_BYTES.set(self._bytes)
