"""A cache of encoded prompts and images by content, with LRU eviction.

Bounded in bytes. Belongs to the worker thread: no locks. Entries are shared between jobs and must not be modified.
"""

from collections.abc import Callable
from typing import Literal

import torch

from services.common.cache import ByteCache
from services.common.cache import content_key as content_key  # cache keys
from services.diffusion.engine import metrics
from services.diffusion.networks import finite

Tensors = tuple[torch.Tensor, ...]


class ConditioningCache:
    """Tensors by kind ("prompt" or "image") and key, at most `max_bytes`.

    0 = disabled.

    service: the label of the metrics.
    """

    def __init__(self, service: str, max_bytes: int) -> None:
        self.service = service
        self._entries: ByteCache[tuple[str, str], Tensors] = ByteCache(max_bytes, size_of)

    @property
    def nbytes(self) -> int:
        """Bytes of all cached values."""
        return self._entries.nbytes

    def get(self, kind: Literal["prompt", "image"], key: str, make: Callable[[], Tensors]) -> Tensors:
        """The entry, computed by `make` on a miss and cached if it fits.

        Raises `make`'s error, and `NumericFailure` for numbers that are not finite; neither is cached.
        """
        slot = (kind, key)
        found = self._entries.get(slot)
        metrics.CACHE.labels(self.service, kind, "miss" if found is None else "hit").inc()
        if found is not None:
            return found
        made = make()
        finite.check(self.service, kind, *made)
        self._entries.put(slot, made)
        metrics.CACHE_BYTES.labels(self.service).set(self.nbytes)
        return made

    def clear(self) -> None:
        """Clear the cache to free its memory."""
        self._entries.clear()
        metrics.CACHE_BYTES.labels(self.service).set(0)


def size_of(tensors: Tensors) -> int:
    """Bytes of these tensors."""
    return sum(tensor.nbytes for tensor in tensors)
