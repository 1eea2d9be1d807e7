"""A cache of computed values by content, with LRU eviction and a bound in bytes."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ByteCache(Generic[K, V]):
    """Values by key, at most `max_bytes` of them; 0 disables the cache.

    Thread-safe. `size_of` returns the bytes of a value. Values are shared and must not be modified.
    """

    def __init__(self, max_bytes: int, size_of: Callable[[V], int]) -> None:
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._nbytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of all cached values."""
        return self._nbytes

    def get(self, key: K) -> V | None:
        """The value, now the most recently used one; None if absent."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: K, value: V) -> None:
        """Store a value, replacing the key's old one.

        A value larger than the whole cache is not stored.
        """
        size = self._size_of(value)
        with self._lock:
            if key in self._entries:
                self._nbytes -= self._size_of(self._entries.pop(key))
            if size > self._max_bytes:
                return
            while self._nbytes + size > self._max_bytes:
                self._nbytes -= self._size_of(self._entries.popitem(last=False)[1])
            self._entries[key] = value
            self._nbytes += size

    def clear(self) -> None:
        """Clear the cache to free its memory."""
        with self._lock:
            self._entries.clear()
            self._nbytes = 0


def content_key(*arrays: NDArray[Any]) -> str:
    """A digest of arrays' contents, shapes and types."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
