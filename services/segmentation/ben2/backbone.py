"""The Swin transformer over the five views of an image.

Plain, differentiable modules over tokens kept as (N, H, W, C); N is any number of views. Attention in shifted windows:
Liu et al., arXiv 2103.14030.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.segmentation.ben2.attention import attend
from services.segmentation.ben2.config import PATCH_SIZE, BEN2Config

SHIFT_PENALTY = -100.0  # added to the logits of two tokens that share a window only because of the roll


def relative_position_index(window: int) -> Tensor:
    """(window², window²) int64.

    The row of the bias table for every pair of tokens in a window.
    """
    ys, xs = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    dy = ys.reshape(-1, 1) - ys.reshape(1, -1) + window - 1
    dx = xs.reshape(-1, 1) - xs.reshape(1, -1) + window - 1
    return dy * (2 * window - 1) + dx


def split_windows(x: Tensor, window: int) -> Tensor:
    """Split (N, H, W, C) into (N * windows, window², C), windows row by row.

    H and W are multiples of the window.
    """
    n, h, w, c = x.shape
    x = x.reshape(n, h // window, window, w // window, window, c).transpose(2, 3)
    return x.reshape(-1, window * window, c)


def join_windows(x: Tensor, window: int, h: int, w: int) -> Tensor:
    """Undo `split_windows`: (N * windows, window², C) -> (N, h, w, C)."""
    c = x.shape[-1]
    x = x.reshape(-1, h // window, w // window, window, window, c).transpose(2, 3)
    return x.reshape(-1, h, w, c)


def shift_mask(side: int, window: int, device: torch.device | None = None) -> Tensor:
    """The shift mask (windows, window², window²) float32, added to the logits.

    For a padded map of `side` tokens that was rolled by window // 2. Zero between tokens of the same region,
    `SHIFT_PENALTY` between tokens from opposite borders.
    """
    shift = window // 2
    band = torch.zeros(side, device=device)
    band[-window:] = 1
    band[-shift:] = 2
    regions = split_windows((3 * band[:, None] + band[None, :]).reshape(1, side, side, 1), window).squeeze(-1)
    return (regions[:, :, None] != regions[:, None, :]).float() * SHIFT_PENALTY


class WindowAttention(nn.Module):
    """Multi-head attention in each window, with a learned bias per relative position."""

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.fused = False
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.relative_position_index: Tensor
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def position_bias(self) -> Tensor:
        """(heads, window², window²), added to every window's logits.

        Its rows are contiguous, because a GPU otherwise refuses fused attention and holds the logits.
        """
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1).contiguous()

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend in windows: x (N * windows, window², C) -> the shape of x.

        mask: (windows, window², window²) or None.
        """
        groups, length, dim = x.shape
        q, k, v = self.qkv(x).reshape(groups, length, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        bias = self.position_bias()[None]  # (1, heads, window², window²)
        if mask is not None:
            bias = (bias + mask[:, None]).repeat(groups // len(mask), 1, 1, 1)
        attended = attend(q, k, v, bias, fused=self.fused)  # (N * windows, heads, window², C / heads)
        out: Tensor = self.proj(attended.transpose(1, 2).reshape(groups, length, dim))
        return out


class Mlp(nn.Module):
    """The two-layer perceptron of a Swin block."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(…, C) -> (…, C)."""
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class SwinBlock(nn.Module):
    """Window attention, then the perceptron, each after a norm and around a residual."""

    def __init__(self, dim: int, heads: int, window: int, shift: int, mlp_ratio: int) -> None:
        super().__init__()
        self.window = window
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, dim * mlp_ratio)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Takes x (N, H, W, C), mask as `shift_mask` gives it -> (N, H, W, C)."""
        x = x + self._attend(self.norm1(x), mask)
        out: Tensor = x + self.mlp(self.norm2(x))
        return out

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        _, h, w, _ = x.shape
        x = functional.pad(x, (0, 0, 0, -w % self.window, 0, -h % self.window))
        _, padded_h, padded_w, _ = x.shape
        x = x.roll((-self.shift, -self.shift), (1, 2))
        windows = self.attn(split_windows(x, self.window), mask if self.shift else None)
        x = join_windows(windows, self.window, padded_h, padded_w).roll((self.shift, self.shift), (1, 2))
        return x[:, :h, :w]


class PatchMerging(nn.Module):
    """Between stages: every 2 x 2 tokens become one of twice the width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, H, W, C) -> (N, H / 2, W / 2, 2 C)."""
        n, h, w, c = x.shape
        # a token's column precedes its row in the concatenation
        x = x.reshape(n, h // 2, 2, w // 2, 2, c).permute(0, 1, 3, 4, 2, 5).reshape(n, h // 2, w // 2, 4 * c)
        out: Tensor = self.reduction(self.norm(x))
        return out


class SwinStage(nn.Module):
    """Blocks at one resolution, every second one with shifted windows, then merging.

    The last stage does not merge.
    """

    def __init__(self, dim: int, depth: int, heads: int, window: int, mlp_ratio: int, last: bool) -> None:
        super().__init__()
        self.window = window
        self.blocks = nn.ModuleList(
            SwinBlock(dim, heads, window, shift=(i % 2) * (window // 2), mlp_ratio=mlp_ratio) for i in range(depth)
        )
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, C) -> the stage's map (N, H, W, C) and (N, H / 2, W / 2, 2 C).

        The latter is the next stage's input.
        """
        side = x.shape[1]
        mask = shift_mask(side + -side % self.window, self.window, x.device).to(x.dtype)
        for block in self.blocks:
            x = block(x, mask)
        return x, x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """Image to tokens: one strided convolution and a norm."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH_SIZE, stride=PATCH_SIZE)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, H / 4, W / 4, C)."""
        out: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return out


class SwinBackbone(nn.Module):
    """The four-stage Swin transformer; returns five maps, coarsest last."""

    def __init__(self, config: BEN2Config) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.embed_dim)
        self.layers = nn.ModuleList(
            SwinStage(dim, depth, heads, config.window_size, config.mlp_ratio, last=i == 3)
            for i, (dim, depth, heads) in enumerate(
                zip(config.stage_dims, config.depths, config.num_heads, strict=True)
            )
        )
        for i, dim in enumerate(config.stage_dims):
            self.add_module(f"norm{i}", nn.LayerNorm(dim))

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) -> five maps (N, C, h, w).

        The embedded patches, then each stage's normed output.
        """
        tokens = self.patch_embed(x)
        maps = [tokens]
        for i, stage in enumerate(self.layers):
            out, tokens = stage(tokens)
            maps.append(self.get_submodule(f"norm{i}")(out))
        return [m.permute(0, 3, 1, 2) for m in maps]
