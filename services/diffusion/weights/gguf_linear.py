"""Linear layers that keep the blocks of a GGUF file: faster Q4_0 and Q8_0 on CPUs.

A layer makes its whole weight dense at every call; on a CPU that takes as long as the product of a small image. This
takes half of diffusers' time, with the same bits: diffusers multiplies number and scale in float16, so the product is
rounded to float16 before it is converted. Other block types and devices use diffusers' code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers.quantizers.gguf.utils import GGUFLinear
from torch import nn
from torch.nn import functional

from imgedit.weights.gguf_header import TYPES

SCALE_BYTES = 2
NIBBLES = 16
"""Bytes of a block of Q4_0 behind its scale: the first half of its numbers is in the low nibbles."""
ZERO = 8
"""The stored value of the number 0."""


def _q4_0(blocks: torch.Tensor) -> torch.Tensor:
    """(n, 18) uint8 → (n, 32) float32: the numbers as they are stored."""
    packed = blocks[:, SCALE_BYTES:]
    numbers = torch.empty(len(blocks), 2, NIBBLES)
    numbers[:, 0] = packed & 0x0F
    numbers[:, 1] = packed >> 4
    return numbers.view(len(blocks), -1).sub_(ZERO)


def _q8_0(blocks: torch.Tensor) -> torch.Tensor:
    """(n, 34) uint8 → (n, 32) float32."""
    return blocks[:, SCALE_BYTES:].view(torch.int8).float()


NUMBERS: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] = {"Q4_0": _q4_0, "Q8_0": _q8_0}
BLOCK_BYTES = {kind: nbytes for kind, _, nbytes in TYPES.values() if kind in NUMBERS}


class StoredLinear(GGUFLinear):  # type: ignore[misc]
    """The layer of diffusers with a faster dense weight on CPUs."""

    def forward_native(self, inputs: torch.Tensor) -> torch.Tensor:
        """(…, in) → (…, out), in the layer's number format."""
        kind = TYPES[int(self.weight.quant_type)][0]
        if self.weight.device.type != "cpu" or kind not in NUMBERS:
            outputs: torch.Tensor = super().forward_native(inputs)
            return outputs
        weight = dense(self.weight.as_tensor(), kind, self.compute_dtype)
        return functional.linear(inputs, weight, None if self.bias is None else self.bias.to(self.compute_dtype))


def dense(stored: torch.Tensor, kind: str, dtype: torch.dtype) -> torch.Tensor:
    """Stored rows (out, bytes) on the CPU as (out, in); kind: one of `NUMBERS`."""
    blocks = stored.view(torch.uint8).reshape(-1, BLOCK_BYTES[kind])
    scale = blocks[:, :SCALE_BYTES].contiguous().view(torch.float16).float()
    rounded = NUMBERS[kind](blocks).mul_(scale).half()
    return rounded.to(dtype).view(len(stored), -1)


def use_stored_linear(network: nn.Module) -> None:
    """Have diffusers' GGUF layers of a network run as `StoredLinear`."""
    for module in network.modules():
        if type(module) is GGUFLinear:
            layer: Any = module
            layer.__class__ = StoredLinear
