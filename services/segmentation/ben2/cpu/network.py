"""The BEN2 forward pass over rows of pixels and tokens, with prepared weights.

Computes the same function as `services.segmentation.ben2.network.BEN2` in float32 or bfloat16, for inference on a CPU.
Exact algebra is folded: shallow features are computed only where they are used, convolutions of doubled images at the
original size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from services.segmentation.ben2.config import PATCH_SIZE, VIEWS
from services.segmentation.ben2.cpu.backbone import Backbone
from services.segmentation.ben2.cpu.convolution import (
    Conv3,
    DoubledConv3,
    bordered,
    clear_border,
    instance_affine,
    norm_gelu,
)
from services.segmentation.ben2.cpu.decoder import Refine
from services.segmentation.ben2.cpu.rows import Linear, chunk, gelu_
from services.segmentation.ben2.cpu.scratch import Scratch
from services.segmentation.ben2.network import BEN2


class PreparedBEN2:
    """The prepared network; owned by one thread, because it reuses its buffers."""

    def __init__(self, network: BEN2, dtype: torch.dtype) -> None:
        config = network.config
        self._config = config
        self._scratch = scratch = Scratch(dtype)
        side = config.stage_sides[0]
        self._backbone = Backbone(network.backbone, side, scratch)
        self._laterals = [Conv3(network.conv(f"output{level}.0"), scratch) for level in (1, 2, 3, 4, 5)]
        self._localize = network.multifieldcrossatt  # small: plain, in float32
        self._refine = [Refine(getattr(network, f"dec_blk{level}"), scratch) for level in (1, 2, 3, 4)]
        self._fuse = [Conv3(network.conv(f"conv{level}.0"), scratch) for level in (1, 2, 3, 4)]
        self._mask = MaskHead(network, scratch)

    @torch.inference_mode()
    def __call__(self, x: Tensor) -> Tensor:
        """(B, 3, S, S), ImageNet-normalised -> (B, 1, S, S) float32 alpha in [0, 1]."""
        size = self._config.image_size
        if x.ndim != 4 or x.shape[1:] != (3, size, size):
            raise ValueError(f"BEN2 takes (B, 3, {size}, {size}), got {tuple(x.shape)}")
        patches = self._patches(x.contiguous())
        views = self._decode(patches.flatten(0, 2))
        return self._mask(x, patches[:, :4], views)

    def _patches(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, 5, side², 48).

        The 4 x 4 patches of the four quadrants and of the half-size image.
        """
        side = self._config.stage_sides[0]
        patches = self._scratch.take("patches", len(x), VIEWS, side, side, 3, PATCH_SIZE, PATCH_SIZE)
        quadrants = x.view(-1, 3, 2, side, PATCH_SIZE, 2, side, PATCH_SIZE).permute(0, 2, 5, 3, 6, 1, 4, 7)
        patches[:, :4].view(quadrants.shape).copy_(quadrants)
        half = functional.avg_pool2d(x, 2).view(-1, 3, side, PATCH_SIZE, side, PATCH_SIZE)
        patches[:, 4].copy_(half.permute(0, 2, 4, 1, 3, 5))
        return patches.view(len(x), VIEWS, side * side, -1)

    def _decode(self, patches: Tensor) -> Tensor:
        """Patches (B * 5 * side², 48) -> decoded views (B * 5, side², D)."""
        sides = (self._config.stage_sides[0], *self._config.stage_sides)
        count = len(patches) // sides[0] ** 2
        laterals = [
            self._convolve(conv, rows.view(count, side, side, -1), f"lateral{level}")
            for level, (conv, side, rows) in enumerate(
                zip(self._laterals, sides, self._backbone.maps(patches, count), strict=True)
            )
        ]
        x = self._localized(laterals[4], sides[4])
        for level in (3, 2, 1, 0):
            x = laterals[level].add_(_resized(x, sides[level + 1], sides[level]))
            self._refine[level](x, sides[level])
            x = self._convolve(self._fuse[level], x.view(count, sides[level], sides[level], -1), f"fused{level % 2}")
        return x

    def _convolve(self, conv: Conv3, x: Tensor, name: str) -> Tensor:
        """(views, side, side, C) -> (views, side², D): convolution, InstanceNorm, GELU."""
        views, side, _, channels = x.shape
        padded, inside = bordered(self._scratch, "bordered", views, side, channels)
        inside.copy_(x)
        return norm_gelu(conv(padded, self._scratch.take(name, views, side * side, conv.channels)))

    def _localized(self, x: Tensor, side: int) -> Tensor:
        """The coarsest views (B * 5, side², D) after localization."""
        maps = x.float().transpose(1, 2).reshape(-1, VIEWS, x.shape[-1], side, side)
        local, whole = self._localize(maps[:, :4], maps[:, 4])
        joined = torch.cat((local, whole[:, None]), dim=1).flatten(0, 1)
        return joined.flatten(2).transpose(1, 2).to(x.dtype)


class MaskHead:
    """From decoded views to the mask, at the image's own resolution.

    It processes a batch image by image: one alone keeps every core busy, and its full-size map is by far the largest
    buffer.
    """

    def __init__(self, network: BEN2, scratch: Scratch) -> None:
        self._scratch = scratch
        self._head = [Conv3(network.conv(f"insmask_head.{layer}"), scratch) for layer in (0, 3)]
        self._head_out = Conv3(network.conv("insmask_head.6"), scratch, normed=False)
        self._shallow = _shallow_at_centres(network.conv("shallow.0"), scratch.dtype)
        self._upsample1 = DoubledConv3(network.conv("upsample1.0"), scratch)
        self._upsample2 = DoubledConv3(network.conv("upsample2.0"), scratch)
        output = network.conv("output.0")
        self._output = Linear(output.weight[0].permute(1, 2, 0).reshape(9, -1), None, scratch.dtype).weight  # (D, 9)
        self._output_bias = 0.0 if output.bias is None else float(output.bias)

    def __call__(self, x: Tensor, patches: Tensor, views: Tensor) -> Tensor:
        """Compute the masks (B, 1, S, S).

        x: (B, 3, S, S); its patches (B, 4, (S / 8)², 48); views (B * 5, (S / 8)², D).
        """
        size = x.shape[-1]
        out = torch.empty(len(x), 1, size, size)
        decoded_views = views.view(len(x), VIEWS, *views.shape[1:])
        for picture, quarters, decoded, mask in zip(x, patches, decoded_views, out, strict=True):
            quarter_size = self._quarter_size(decoded, quarters, size // 8)
            half_size = self._half_size(quarter_size, picture)
            self._full_size(half_size, mask[0])
        return out

    def _quarter_size(self, views: Tensor, patches: Tensor, side: int) -> Tensor:
        """Join views (5, side², D) and patches (4, side², 48) inside a zero border.

        -> (1, 2 side + 2, 2 side + 2, D).
        """
        dim = views.shape[-1]
        padded, inside = bordered(self._scratch, "bordered", 1, 2 * side, dim)
        whole = _resized(views[4:], side, 2 * side).view(inside.shape)
        torch.add(_joined(views[:4], side), whole[0], out=inside[0])
        for number, conv in enumerate(self._head):
            rows = norm_gelu(conv(padded, self._scratch.take(f"head{number}", 1, 4 * side * side, conv.channels)))
            padded, inside = bordered(self._scratch, "bordered", 1, 2 * side, conv.channels)
            inside.copy_(rows.view(inside.shape))
        rows = self._head_out(padded, self._scratch.take("head0", 1, 4 * side * side, dim))
        padded, inside = bordered(self._scratch, "bordered", 1, 2 * side, dim)
        shallow = self._shallow.into(self._scratch.take("head1", 4 * side * side, dim), patches.flatten(0, 1))
        torch.add(rows.view(inside.shape[1:]), _joined(shallow.view(4, side * side, dim), side), out=inside[0])
        return padded

    def _half_size(self, x: Tensor, picture: Tensor) -> Tensor:
        """Double x (1, n + 2, n + 2, D) to (1, 2 n + 2, 2 n + 2, D), adding the image.

        The image is (3, 4 n, 4 n). The border is zero.
        """
        n, dim = x.shape[1] - 2, x.shape[3]
        rows = self._upsample1(x, self._scratch.take("head0", 1, (n + 1) ** 2, 4 * dim))
        blocks = rows.view(n + 1, n + 1, 2, 2, dim)
        _clear_block_border(blocks, 0, n)
        scale, shift = instance_affine(rows.view(-1, dim), excluded=4 * (2 * n + 1))
        doubled = self._scratch.take("doubled", 1, 2 * n + 2, 2 * n + 2, dim)
        around = functional.pad(picture, (3, 3, 3, 3)).to(self._scratch.dtype)
        seen = around.unfold(1, PATCH_SIZE, 2).unfold(2, PATCH_SIZE, 2).permute(1, 2, 0, 3, 4)  # (2n + 2, 2n + 2, …)
        step = max(1, chunk(dim) // (4 * n + 4))
        for top in range(0, n + 1, step):
            part = blocks[top : top + step].transpose(1, 2)  # (step, 2, n + 1, 2, D): rows of the doubled image
            target = doubled[0, 2 * top : 2 * (top + step)]
            gelu_(torch.addcmul(shift, part, scale, out=target.view(part.shape)))
            strip = seen[2 * top : 2 * (top + step)]
            laid = self._scratch.take("neighbours", *strip.shape).copy_(strip).view(-1, 3 * PATCH_SIZE**2)
            self._shallow.onto(target.view(-1, dim), laid)
        clear_border(doubled)
        return doubled

    def _full_size(self, x: Tensor, mask: Tensor) -> None:
        """Takes x (1, n + 2, n + 2, D) -> mask (2 n, 2 n) alpha in [0, 1], written."""
        n, dim = x.shape[1] - 2, x.shape[3]
        rows = self._upsample2(x, self._scratch.take("full", 1, (n + 1) ** 2, 4 * dim))
        blocks = rows.view(n + 1, n + 1, 2, 2, dim)
        _clear_block_border(blocks, 0, n)
        scale, shift = instance_affine(rows.view(-1, dim), excluded=4 * (2 * n + 1))
        taps = self._scratch.take("head0", n + 1, n + 1, 2, 2, 9)
        step = max(1, chunk(dim) // (4 * n + 4))
        for top in range(0, n + 1, step):
            part = blocks[top : top + step]
            gelu_(torch.addcmul(shift, part, scale, out=part))
            _clear_block_border(part, top, n)
            torch.mm(part.view(-1, dim), self._output, out=taps[top : top + step].view(-1, 9))
        planes = taps.permute(4, 0, 2, 1, 3).float().reshape(9, 2 * n + 2, 2 * n + 2)
        mask.fill_(self._output_bias)
        for tap, plane in enumerate(planes):
            mask += plane[tap // 3 : tap // 3 + 2 * n, tap % 3 : tap % 3 + 2 * n]
        mask.sigmoid_()


def _clear_block_border(blocks: Tensor, top: int, n: int) -> None:
    """Zero the border in rows from `top` of `DoubledConv3`'s output.

    (rows, n + 1, 2, 2, C).
    """
    if top == 0:
        blocks[0, :, 0] = 0
    if top + len(blocks) == n + 1:
        blocks[-1, :, 1] = 0
    blocks[:, 0, :, 0] = 0
    blocks[:, -1, :, 1] = 0


def _joined(quadrants: Tensor, side: int) -> Tensor:
    """(4, side², C) -> (2 side, 2 side, C), a copy."""
    return quadrants.view(2, 2, side, side, -1).transpose(1, 2).reshape(2 * side, 2 * side, -1)


def _resized(x: Tensor, side: int, to: int) -> Tensor:
    """(views, side², C) -> (views, to², C), bilinear."""
    if side == to:
        return x
    maps = x.view(len(x), side, side, -1).permute(0, 3, 1, 2)
    return functional.interpolate(maps, size=(to, to), mode="bilinear").permute(0, 2, 3, 1).reshape(len(x), to * to, -1)


def _shallow_at_centres(layer: nn.Conv2d, dtype: torch.dtype) -> Linear:
    """The shallow 3 x 3 convolution and the mean of a 2 x 2 block, as one product.

    Bilinear reduction to a half or a quarter uses only the 2 x 2 block in the middle of each place, so the product
    takes a 4 x 4 patch.
    """
    weight = functional.pad(layer.weight.detach(), (0, 1, 0, 1))  # (D, 3, 4, 4)
    moved = torch.stack([weight.roll((dy, dx), (2, 3)) for dy in (0, 1) for dx in (0, 1)])
    return Linear(moved.mean(0).flatten(1), layer.bias, dtype)
