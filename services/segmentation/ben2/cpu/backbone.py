"""The Swin backbone over rows of tokens, with one gather per direction.

A stage's tokens stay in one matrix (views * side², C), view by view and row by row. Padding, rolling, splitting into
windows and splitting into heads are one table of row numbers; joining and rolling back another. Position bias and shift
mask are one additive table per kind of window.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor

from services.segmentation.ben2.backbone import (
    PatchMerging,
    SwinBackbone,
    SwinBlock,
    SwinStage,
    shift_mask,
    split_windows,
)
from services.segmentation.ben2.cpu.rows import Linear, Norm, chunks, gelu_
from services.segmentation.ben2.cpu.scratch import Scratch

LOGITS_PER_GROUP = 2**22  # windows are processed in groups of about this many logits, to stay in the cache


class Windows:
    """The window layout of a square map's tokens, for one shift and head count."""

    def __init__(self, side: int, window: int, shift: int, heads: int) -> None:
        self.heads = heads
        self.length = window * window
        padded = side + -side % window
        tokens = torch.full((padded, padded), -1, dtype=torch.int64)
        tokens[:side, :side] = torch.arange(side * side).view(side, side)
        tokens = tokens.roll((-shift, -shift), (0, 1))
        self.tokens = split_windows(tokens.view(1, padded, padded, 1), window).squeeze(-1)  # (windows, window²)
        self.count = len(self.tokens)
        self.masks, self.kinds = self._masks(padded, window, shift)
        self._tables: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def _masks(self, padded: int, window: int, shift: int) -> tuple[Tensor, Tensor]:
        """The distinct shift masks (kinds, window², window²) and each window's kind."""
        if not shift:
            return torch.zeros(1, self.length, self.length), torch.zeros(self.count, dtype=torch.int64)
        masks, kinds = torch.unique(shift_mask(padded, window).flatten(1), dim=0, return_inverse=True)
        return masks.view(-1, self.length, self.length), kinds

    def tables(self, views: int) -> tuple[Tensor, Tensor, Tensor]:
        """The row numbers for that many views, int32.

        First the position of q, k and v of each window, head and token among the head-sized pieces of the qkv matrix
        (3, views * windows, heads * window²), whose row after the last token stands for padding; then the position of
        each token and head among the attended pieces (views * side² * heads,); then each window's kind (views *
        windows,).
        """
        if views not in self._tables:
            self._tables = {views: self._build(views)}  # one batch size at a time
        return self._tables[views]

    def _build(self, views: int) -> tuple[Tensor, Tensor, Tensor]:
        heads, per_view = self.heads, int(self.tokens.max()) + 1
        total = views * per_view
        view = torch.arange(views).view(-1, 1, 1)
        rows = torch.where(self.tokens < 0, total, self.tokens + view * per_view).flatten(0, 1)  # (windows, window²)
        part = torch.arange(3).view(3, 1, 1, 1) * heads + torch.arange(heads).view(1, 1, heads, 1)
        source = rows[None, :, None, :] * 3 * heads + part  # (3, windows, heads, window²)

        slots = torch.arange(rows.numel()).view(rows.shape)
        slot = torch.empty(total, dtype=torch.int64)
        slot[rows[rows < total]] = slots[rows < total]
        window, place = slot // self.length, slot % self.length
        target = (window[:, None] * heads + torch.arange(heads)) * self.length + place[:, None]  # (tokens, heads)
        return source.flatten(2).int(), target.flatten().int(), self.kinds.repeat(views).int()


class Block:
    """One Swin block, in place on the rows of its stage."""

    def __init__(self, block: SwinBlock, windows: Windows, scratch: Scratch) -> None:
        dtype = scratch.dtype
        self._windows = windows
        self._scratch = scratch
        self._norm1, self._norm2 = Norm(block.norm1, dtype), Norm(block.norm2, dtype)
        self._qkv = self._scaled_qkv(block, dtype)
        self._proj = Linear.of(block.attn.proj, dtype)
        self._fc1, self._fc2 = Linear.of(block.mlp.fc1, dtype), Linear.of(block.mlp.fc2, dtype)
        bias = block.attn.position_bias().detach() + windows.masks[:, None]  # (kinds, heads, window², window²)
        self._bias = bias.flatten(1).to(dtype)

    @staticmethod
    def _scaled_qkv(block: SwinBlock, dtype: torch.dtype) -> Linear:
        """The q, k, v layer with the attention scale folded into q."""
        layer, dim = block.attn.qkv, block.attn.qkv.in_features
        scale = torch.ones(3 * dim)
        scale[:dim] = (dim // block.attn.heads) ** -0.5
        return Linear(layer.weight * scale[:, None], layer.bias * scale, dtype)

    def __call__(self, x: Tensor, views: int) -> None:
        """Takes x (views * side², C), changed in place."""
        attended = self._attend(self._project(x), views, x)
        width = self._fc1.weight.shape[1]
        for part, seen in chunks(width, x, attended):
            self._proj.onto(part, seen)
            hidden = self._fc1.into(self._scratch.take("hidden", len(part), width), self._norm2(part))
            self._fc2.onto(part, gelu_(hidden))

    def _project(self, x: Tensor) -> Tensor:
        """(tokens, C) -> (tokens + 1, 3 C).

        The last row is the value of padding (zeros after the norm).
        """
        qkv = self._scratch.take("qkv", len(x) + 1, 3 * x.shape[1])
        for part, out in chunks(qkv.shape[1], x, qkv[:-1]):
            self._qkv.into(out, self._norm1(part))
        qkv[-1] = self._qkv.bias
        return qkv

    def _attend(self, qkv: Tensor, views: int, like: Tensor) -> Tensor:
        """(tokens + 1, 3 C) -> (tokens, C): attention inside every window."""
        heads, length = self._windows.heads, self._windows.length
        source, target, kinds = self._windows.tables(views)
        size = like.shape[1] // heads
        pieces = qkv.view(-1, size)
        group = max(1, LOGITS_PER_GROUP // (heads * length * length))
        attended = self._scratch.take("attended", len(kinds) * heads, length, size)
        for first in range(0, len(kinds), group):
            kind = kinds[first : first + group]
            n = len(kind) * heads
            q, k, v = (
                torch.index_select(
                    pieces, 0, table[first : first + group].view(-1), out=self._scratch.take(name, n * length, size)
                ).view(n, length, size)
                for name, table in zip("qkv", source, strict=True)
            )
            logits = self._scratch.take("logits", len(kind), heads * length * length)
            logits = torch.index_select(self._bias, 0, kind, out=logits).view(n, length, length)
            torch.baddbmm(logits, q, k.transpose(1, 2), out=logits)
            torch.softmax(logits, -1, out=logits)
            torch.bmm(logits, v, out=attended[first * heads : first * heads + n])
        joined = self._scratch.take("joined", len(target), size)
        return torch.index_select(attended.view(-1, size), 0, target, out=joined).view(like.shape)


class Merging:
    """Every 2 x 2 tokens become one of twice the width."""

    def __init__(self, merging: PatchMerging, scratch: Scratch) -> None:
        self._scratch = scratch
        self._norm = Norm(merging.norm, scratch.dtype)
        self._weight = merging.reduction.weight.detach().to(scratch.dtype).t()

    def __call__(self, x: Tensor, views: int, side: int, out: Tensor) -> Tensor:
        """Takes x (views * side², C) -> out (views * side² / 4, 2 C)."""
        dim = x.shape[1]
        merged = self._scratch.take("qkv", views, side // 2, side // 2, 2, 2, dim)
        merged.copy_(x.view(views, side // 2, 2, side // 2, 2, dim).permute(0, 1, 3, 4, 2, 5))
        for part, result in chunks(4 * dim, merged.view(-1, 4 * dim), out):
            torch.mm(self._norm(part), self._weight, out=result)
        return out


class Backbone:
    """Patches of the five views in, five maps out, one after the other."""

    def __init__(self, backbone: SwinBackbone, side: int, scratch: Scratch) -> None:
        self._scratch = scratch
        embed = backbone.patch_embed
        self._embed = Linear(embed.proj.weight.flatten(1), embed.proj.bias, scratch.dtype)
        self._embed_norm = Norm(embed.norm, scratch.dtype)
        self._side = side
        stages = [cast("SwinStage", stage) for stage in backbone.layers]
        self._stages = [self._blocks(stage, side >> i) for i, stage in enumerate(stages)]
        self._mergings = [Merging(stage.downsample, scratch) for stage in stages if stage.downsample is not None]
        self._norms = [Norm(getattr(backbone, f"norm{i}"), scratch.dtype) for i in range(len(stages))]

    def _blocks(self, stage: SwinStage, side: int) -> list[Block]:
        blocks = [cast("SwinBlock", block) for block in stage.blocks]
        heads = blocks[0].attn.heads
        windows = [Windows(side, stage.window, shift, heads) for shift in (0, stage.window // 2)]
        return [Block(block, windows[i % 2], self._scratch) for i, block in enumerate(blocks)]

    def maps(self, patches: Tensor, views: int) -> Iterator[Tensor]:
        """Takes patches (views * side², 48) -> the embedded patches and each stage's map.

        Maps are (views * side², C), normalised, and valid until the next one is requested.
        """
        side = self._side
        x = self._scratch.take("tokens0", len(patches), self._embed.weight.shape[1])
        for part, out in chunks(x.shape[1], patches, x):
            out.copy_(self._embed_norm(self._embed.into(out, part)))
        yield x
        for i, (blocks, norm) in enumerate(zip(self._stages, self._norms, strict=True)):
            for block in blocks:
                block(x, views)
            normed = self._scratch.take("joined", *x.shape)
            for part, out in chunks(x.shape[1], x, normed):
                out.copy_(norm(part))
            yield normed
            if i < len(self._mergings):
                following = self._scratch.take(f"tokens{1 - i % 2}", len(x) // 4, 2 * x.shape[1])
                x = self._mergings[i](x, views, side, following)
                side //= 2
