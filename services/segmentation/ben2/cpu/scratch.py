"""Buffers that outlive a call.

Allocating a large tensor costs more in page faults than most layers cost in arithmetic, so every large intermediate
result goes into a named buffer. Two results may share a name if they are never needed at the same time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Scratch:
    """Named buffers of one dtype, owned by one thread.

    They grow on demand and never shrink.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A contiguous tensor of `shape` over the buffer `name`, with arbitrary content."""
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            self._buffers.pop(name, None)  # free the old buffer before allocating the new one
            buffer = self._buffers[name] = torch.empty(size, dtype=self.dtype)
        return buffer[:size].view(shape)
