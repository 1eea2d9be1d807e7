"""What was encoded before: prompt features and picture latents by content, the least recently used forgotten first.

Bounded in bytes. Belongs to the worker thread: no locks. Entries are shared between jobs and must not be written to.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from services.diffusion import metrics

Tensors = tuple[torch.Tensor, ...]


class ConditioningCache:
    """Tensors by kind ("prompt" or "image") and key, at most `max_bytes` of them; 0 remembers nothing.

    service: the label of the metrics.
    """

    def __init__(self, service: str, max_bytes: int) -> None:
        self._service = service
        self._max_bytes = max_bytes
        self._entries: OrderedDict[tuple[str, str], Tensors] = OrderedDict()
        self.nbytes = 0

    def get(self, kind: str, key: str, make: Callable[[], Tensors]) -> Tensors:
        """The entry; made and, if it fits, remembered when it is not there. What `make` raises is not remembered."""
        slot = (kind, key)
        found = self._entries.get(slot)
        metrics.CACHE.labels(self._service, kind, "miss" if found is None else "hit").inc()
        if found is not None:
            self._entries.move_to_end(slot)
            return found
        made = make()
        self._remember(slot, made)
        return made

    def _remember(self, slot: tuple[str, str], made: Tensors) -> None:
        size = size_of(made)
        if size > self._max_bytes:
            return
        while self.nbytes + size > self._max_bytes:
            self.nbytes -= size_of(self._entries.popitem(last=False)[1])
        self._entries[slot] = made
        self.nbytes += size
        metrics.CACHE_BYTES.labels(self._service).set(self.nbytes)

    def clear(self) -> None:
        """Forget everything, to free its memory."""
        self._entries.clear()
        self.nbytes = 0
        metrics.CACHE_BYTES.labels(self._service).set(0)


def size_of(tensors: Tensors) -> int:
    """Bytes of these tensors."""
    return sum(tensor.nbytes for tensor in tensors)


def content_key(*arrays: NDArray[Any]) -> str:
    """A digest of arrays' contents, shapes and types: equal exactly when the arrays are."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
