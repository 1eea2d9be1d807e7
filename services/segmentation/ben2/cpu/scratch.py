"""Buffers that outlive a call.

A large tensor that is allocated anew costs more in page faults than most layers cost in arithmetic, so every large
intermediate result of the prepared network is written into a named buffer that stays. The module does not know what the
names stand for: two results may share a name when they are never needed at the same time.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


class Scratch:
    """Named buffers of one dtype.

    Grown when asked for more, never shrunk, owned by one thread.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._buffers: dict[str, Tensor] = {}

    def take(self, name: str, *shape: int) -> Tensor:
        """A contiguous tensor of `shape` over the buffer `name`.

        Its content is whatever was left there.
        """
        size = math.prod(shape)
        buffer = self._buffers.get(name)
        if buffer is None or buffer.numel() < size:
            self._buffers.pop(name, None)  # free the old one before the new one is there
            buffer = self._buffers[name] = torch.empty(size, dtype=self.dtype)
        return buffer[:size].view(shape)
