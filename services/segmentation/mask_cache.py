"""Cached and in-flight masks, so that no image passes the network twice.

Belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from imgedit.errors import ImgeditError
from imgedit.imaging.images import Pixels
from services.common.cache import ByteCache
from services.segmentation import metrics

Deadline = Callable[[], float]


@dataclass(frozen=True)
class Found:
    """A mask (H, W) uint8, read-only.

    `seconds`: its computation time, by part; empty on a cache hit.
    """

    mask: Pixels
    seconds: Mapping[str, float] = field(default_factory=dict)
    cache_hit: bool = False


Make = Callable[[Deadline], Awaitable[Found]]
"""Computes a mask; its argument returns the latest deadline of the callers, on the `time.monotonic` clock."""


class MaskCache:
    """At most `max_bytes` of masks, with LRU eviction; 0 disables the cache."""

    def __init__(self, max_bytes: int) -> None:
        self._masks: ByteCache[str, Pixels] = ByteCache(max_bytes, lambda mask: mask.nbytes)
        self._flights: dict[str, _Flight] = {}

    async def get(self, key: str, make: Make, *, deadline: float | None) -> Found:
        """The mask of `key`, computed on a miss.

        Simultaneous callers share one `make`. A cancelled caller does not disturb the others; when the last one leaves,
        `make` is cancelled. `make`'s error is raised for all callers and not cached.
        """
        mask = self._masks.get(key)
        if mask is not None:
            metrics.CACHE_LOOKUPS.labels("hit").inc()
            return Found(mask, cache_hit=True)
        flight = self._flights.get(key)
        if flight is not None:
            metrics.CACHE_LOOKUPS.labels("shared").inc()
            return Found((await self._join(key, flight, deadline)).mask, cache_hit=True)
        metrics.CACHE_LOOKUPS.labels("miss").inc()
        flight = self._flights[key] = _Flight(lambda latest: self._made(key, make, latest))
        return await self._join(key, flight, deadline)

    async def _made(self, key: str, make: Make, latest: Deadline) -> Found:
        found = await make(latest)
        found.mask.setflags(write=False)
        self._masks.put(key, found.mask)
        metrics.CACHE_BYTES.set(self._masks.nbytes)
        return found

    async def _join(self, key: str, flight: _Flight, deadline: float | None) -> Found:
        try:
            return await flight.wait(math.inf if deadline is None else deadline)
        finally:
            # Finished or abandoned: a new caller starts again.
            if flight.is_over and self._flights.get(key) is flight:
                del self._flights[key]


class _Flight:
    """An in-flight mask and the deadlines of its callers."""

    def __init__(self, make: Make) -> None:
        self._deadlines: list[float] = []
        self._task = asyncio.ensure_future(make(self._latest))

    @property
    def is_over(self) -> bool:
        """Whether it is done, or nobody waits for it."""
        return self._task.done() or not self._deadlines

    async def wait(self, deadline: float) -> Found:
        """The mask.

        The last caller to leave cancels the computation.
        """
        self._deadlines.append(deadline)
        try:
            return await asyncio.shield(self._task)
        except ImgeditError as error:
            raise _own(error) from None
        finally:
            self._deadlines.remove(deadline)
            if not self._deadlines:
                self._task.cancel()

    def _latest(self) -> float:
        return max(self._deadlines, default=-math.inf)


def _own(error: ImgeditError) -> ImgeditError:
    """A copy: each request writes its own id into its error."""
    own = copy.copy(error)
    own.metadata = dict(error.metadata)
    return own
