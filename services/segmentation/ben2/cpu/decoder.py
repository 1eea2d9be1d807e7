"""The refinement block over rows of pixels, in place."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor
from torch.nn import functional

from services.segmentation.ben2.config import VIEWS
from services.segmentation.ben2.cpu.rows import Linear, Norm, chunks, gelu_
from services.segmentation.ben2.cpu.scratch import Scratch
from services.segmentation.ben2.decoder import CrossAttention, Refinement


class FoldedAttention:
    """Single-head attention whose keys and values are the same rows.

    With one head, softmax(q kᵀ) v W is linear on both sides of the softmax: the key weights fold into the query's and
    the value weights into the output's, and constants over the keys cancel in the softmax.
    """

    def __init__(self, attention: CrossAttention, dtype: torch.dtype) -> None:
        wq, wk, wv = attention.in_proj_weight.detach().double().chunk(3)
        bq, _, bv = attention.in_proj_bias.detach().double().chunk(3)
        wo, bo = attention.out_proj.weight.detach().double(), attention.out_proj.bias.detach().double()
        scale = len(wq) ** -0.5
        self.query = Linear(scale * wk.t() @ wq, scale * bq @ wk, dtype)
        self.output = Linear(wo @ wv, wo @ bv + bo, dtype)


class Refine:
    """One refinement block."""

    def __init__(self, block: Refinement, scratch: Scratch) -> None:
        dtype = scratch.dtype
        self._scratch = scratch
        self._pool_ratios = block.pool_ratios
        self._attention = [FoldedAttention(cast("CrossAttention", a), dtype) for a in block.attention]
        self._linear3, self._linear4 = Linear.of(block.linear3, dtype), Linear.of(block.linear4, dtype)
        self._norm1, self._norm2 = Norm(block.norm1, dtype), Norm(block.norm2, dtype)
        self._saliency = Linear(block.sal_conv.weight.flatten(1), block.sal_conv.bias, dtype)

    def __call__(self, x: Tensor, side: int) -> None:
        """Takes x (B * 5, side², C): the views of B pictures, changed in place."""
        x = x.view(-1, VIEWS, side * side, x.shape[-1])
        for picture in x:
            local, whole = picture[:4], picture[4]
            self._weigh(local, whole, side)
            for rows, pools, attention in zip(local, self._pools(whole, side), self._attention, strict=True):
                self._attend(rows, pools, attention)
            self._transform(local.flatten(0, 1))
            self._take_over(local, whole, side)

    def _weigh(self, local: Tensor, whole: Tensor, side: int) -> None:
        """Multiply every pixel of the quadrants by its saliency in the whole image."""
        half = side // 2
        saliency = torch.addmm(self._saliency.bias, whole, self._saliency.weight).sigmoid_()
        saliency = saliency.view(2, half, 1, 2, half, 1).permute(0, 3, 1, 2, 4, 5)
        local *= saliency.expand(2, 2, half, 2, half, 2).reshape(4, side * side, 1)

    def _pools(self, whole: Tensor, side: int) -> list[Tensor]:
        """The averages of each quarter of the whole image (side², C), as rows (m, C).

        One set per ratio.
        """
        quarters = whole.view(2, side // 2, 2, side // 2, -1).transpose(1, 2).flatten(0, 1).permute(0, 3, 1, 2)
        pools = [functional.avg_pool2d(quarters, ratio // 2).flatten(2) for ratio in self._pool_ratios]
        return list(torch.cat(pools, 2).transpose(1, 2).contiguous())

    def _attend(self, rows: Tensor, pools: Tensor, attention: FoldedAttention) -> None:
        """Add to the rows (side², C) of a quadrant their attention to the pools (m, C)."""
        keys = pools.t()
        for (part,) in chunks(len(pools), rows):
            query = attention.query.into(self._scratch.take("q", *part.shape), part)
            logits = torch.mm(query, keys, out=self._scratch.take("logits", len(part), len(pools)))
            torch.softmax(logits, -1, out=logits)
            attention.output.onto(part, torch.mm(logits, pools, out=query))

    def _transform(self, rows: Tensor) -> None:
        """The norms and the two layers after the attention, in place on rows (n, C)."""
        width = self._linear3.weight.shape[1]
        for (part,) in chunks(width, rows):
            part.copy_(self._norm1(part))
            hidden = self._linear3.into(self._scratch.take("hidden", len(part), width), part)
            part.copy_(self._norm2(self._linear4.onto(part, gelu_(hidden))))

    def _take_over(self, local: Tensor, whole: Tensor, side: int) -> None:
        """Add every second pixel of the joined quadrants to the whole image."""
        half = side // 2
        target = whole.view(2, half, 2, half, -1).transpose(1, 2)
        target += local.view(2, 2, side, side, -1)[:, :, ::2, ::2]
