"""The parts that join the five views: two kinds of cross-attention blocks.

Plain, differentiable modules over maps kept as (B, C, H, W) per view kind: `local` holds the four quadrants (B, 4, C,
h, w), row by row, `whole` the image at half size (B, C, h, w). The structure follows MVANet (arXiv 2404.07445), as BEN2
does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.segmentation.ben2.attention import attend


def quadrants(x: Tensor) -> Tensor:
    """(B, C, 2h, 2w) -> (B, 4, C, h, w).

    Top left, top right, bottom left, bottom right.
    """
    b, c, h, w = x.shape
    return x.reshape(b, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).reshape(b, 4, c, h // 2, w // 2)


def join_quadrants(x: Tensor) -> Tensor:
    """Undo `quadrants`: (B, 4, C, h, w) -> (B, C, 2h, 2w)."""
    b, _, c, h, w = x.shape
    return x.reshape(b, 2, 2, c, h, w).permute(0, 3, 1, 4, 2, 5).reshape(b, c, 2 * h, 2 * w)


def to_tokens(x: Tensor) -> Tensor:
    """(…, C, h, w) -> (…, h * w, C)."""
    return x.flatten(-2).transpose(-2, -1)


def to_map(tokens: Tensor, side: int) -> Tensor:
    """Undo `to_tokens` for a square map: (…, side², C) -> (…, C, side, side)."""
    return tokens.transpose(-2, -1).reshape(*tokens.shape[:-2], -1, side, side)


def sine_positions(side: int, dim: int) -> Tensor:
    """Sine-cosine positions (side², dim) float32 of the places of a square map.

    Rows in the first half of the channels, columns in the second; coordinates are scaled to (0, 2π) (Carion et al.,
    arXiv 2005.12872).
    """
    half = dim // 2
    place = (torch.arange(1, side + 1, dtype=torch.float32) - 0.5) / (side + 1e-6) * (2 * math.pi)
    wavelength = 10000.0 ** (2 * (torch.arange(half) // 2).float() / half)
    angle = place[:, None] / wavelength  # (side, half)
    wave = torch.where(torch.arange(half) % 2 == 0, angle.sin(), angle.cos())
    rows = wave[:, None, :].expand(side, side, half)
    columns = wave[None, :, :].expand(side, side, half)
    return torch.cat((rows, columns), dim=-1).reshape(side * side, dim)


def pooled_tokens(x: Tensor, sides: Sequence[int]) -> Tensor:
    """(N, C, h, w) -> (N, sum of side², C).

    The map averaged down to each of the sides, as tokens.
    """
    return torch.cat([to_tokens(functional.adaptive_avg_pool2d(x, side)) for side in sides], dim=1)


class CrossAttention(nn.Module):
    """Single-head attention with the parameter names of `nn.MultiheadAttention`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fused = False
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Takes query (B, n, C), key and value (B, m, C) -> (B, n, C)."""
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        q, k, v = (functional.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True))
        attended = attend(q[:, None], k[:, None], v[:, None], fused=self.fused)[:, 0]
        out: Tensor = self.out_proj(attended)
        return out


class Localization(nn.Module):
    """Attention between the coarsest maps.

    The whole image attends to the joined quadrants, then each quadrant to its quarter of the whole image.
    """

    def __init__(self, dim: int, pool_ratios: Sequence[int]) -> None:
        super().__init__()
        self.pool_ratios = pool_ratios
        self.attention = nn.ModuleList(CrossAttention(dim) for _ in range(5))
        self.linear1 = nn.Linear(dim, 2 * dim)
        self.linear2 = nn.Linear(2 * dim, dim)
        self.linear3 = nn.Linear(dim, 2 * dim)
        self.linear4 = nn.Linear(2 * dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)

    def forward(self, local: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Takes local (B, 4, C, h, h) and whole (B, C, h, h) -> the same shapes."""
        side, dim = whole.shape[-1], whole.shape[1]
        sides = [side // ratio for ratio in self.pool_ratios]
        pools = pooled_tokens(join_quadrants(local), sides)
        pool_positions = torch.cat([sine_positions(s, dim) for s in sides]).to(pools)
        tokens = to_tokens(whole)
        query = tokens + sine_positions(side, dim).to(pools)
        tokens = self.norm1(tokens + self.attention[0](query, pools + pool_positions, pools))
        tokens = self.norm2(tokens + self.linear2(functional.gelu(self.linear1(tokens))))
        whole = to_map(tokens, side)

        quarters = to_tokens(quadrants(whole))  # (B, 4, h² / 4, C)
        tokens = to_tokens(local)  # (B, 4, h², C)
        seen = [self.attention[i + 1](tokens[:, i], quarters[:, i], quarters[:, i]) for i in range(4)]
        tokens = self.norm1(tokens + torch.stack(seen, dim=1))
        tokens = self.norm2(tokens + self.linear4(functional.gelu(self.linear3(tokens))))
        return to_map(tokens, side), whole


class Refinement(nn.Module):
    """One decoder step.

    The whole image weighs the quadrants, they attend to its quarters, and it takes them over.
    """

    def __init__(self, dim: int, pool_ratios: Sequence[int]) -> None:
        super().__init__()
        self.pool_ratios = pool_ratios
        self.attention = nn.ModuleList(CrossAttention(dim) for _ in range(4))
        self.linear3 = nn.Linear(dim, 2 * dim)
        self.linear4 = nn.Linear(2 * dim, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.sal_conv = nn.Conv2d(dim, 1, 1)

    def forward(self, local: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
        """Takes local (B, 4, C, h, h) and whole (B, C, h, h) -> the same shapes."""
        side = whole.shape[-1]
        weight = self.sal_conv(whole).sigmoid().repeat_interleave(2, -1).repeat_interleave(2, -2)  # (B, 1, 2h, 2h)
        tokens = to_tokens(local * quadrants(weight))  # (B, 4, h², C)
        quarters = quadrants(whole).flatten(0, 1)  # (B * 4, C, h / 2, h / 2)
        pools = pooled_tokens(quarters, [side // ratio for ratio in self.pool_ratios])
        pools = pools.reshape(len(whole), 4, *pools.shape[1:])
        seen = [self.attention[i](tokens[:, i], pools[:, i], pools[:, i]) for i in range(4)]
        tokens = self.norm1(tokens + torch.stack(seen, dim=1))
        tokens = self.norm2(tokens + self.linear4(functional.gelu(self.linear3(tokens))))
        local = to_map(tokens, side)
        return local, whole + join_quadrants(local)[..., ::2, ::2]
