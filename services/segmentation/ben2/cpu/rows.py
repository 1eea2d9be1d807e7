"""Matrix steps over rows of channels, in place or into given buffers.

The prepared network is matrices of rows (one token or pixel each) times small weights.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK_ELEMENTS = 2**22


def chunk(width: int) -> int:
    """Rows per chunk for a chain of steps whose widest has `width` columns.

    Few enough to stay in the cache, enough that threads seldom wait for each other.
    """
    return max(256, CHUNK_ELEMENTS // width)


def chunks(width: int, *matrices: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Matching rows of matrices of equal height, `chunk(width)` at a time."""
    return zip(*(torch.split(matrix, chunk(width)) for matrix in matrices), strict=True)


class Linear:
    """x W + b with the weight in the working dtype."""

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.weight = weight.detach().to(dtype).t()  # (inputs, outputs)
        self.bias = torch.zeros(len(weight), dtype=dtype) if bias is None else bias.detach().to(dtype)

    @classmethod
    def of(cls, layer: nn.Linear, dtype: torch.dtype) -> Linear:
        """The prepared form of a PyTorch layer."""
        return cls(layer.weight, layer.bias, dtype)

    def into(self, out: Tensor, x: Tensor) -> Tensor:
        """Write x W + b into `out` (n, outputs), for x (n, inputs)."""
        return torch.addmm(self.bias, x, self.weight, out=out)

    def onto(self, total: Tensor, x: Tensor) -> Tensor:
        """Add x W + b to `total` (n, outputs), for x (n, inputs): a residual connection."""
        return total.add_(self.bias).addmm_(x, self.weight)


class Norm:
    """LayerNorm over the channels of a row."""

    def __init__(self, layer: nn.LayerNorm, dtype: torch.dtype) -> None:
        self.weight = layer.weight.detach().to(dtype)
        self.bias = layer.bias.detach().to(dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Normalise each row of (n, C)."""
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias)


def gelu_(x: Tensor) -> Tensor:
    """Exact GELU in place."""
    out: Tensor = torch.ops.aten.gelu_(x)
    return out
