"""3 x 3 convolutions over rows of pixels as matrix products, and their norm.

An image is a matrix of rows (one pixel each, channels last) inside a border of zeros. Strips of it are laid out as one
row of nine neighbours per pixel and multiplied by the weights. On CPUs with matrix units this is several times as fast
as their convolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from services.segmentation.ben2.cpu.rows import chunk, chunks, gelu_
from services.segmentation.ben2.cpu.scratch import Scratch

EPSILON = 1e-5  # of InstanceNorm

# A 3-tap filter over an image doubled in size (each pixel repeated), applied to the two original pixels around it:
# [parity of the place, original pixel, tap].
DOUBLED_TAPS = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]]])


def bordered(scratch: Scratch, name: str, views: int, side: int, channels: int) -> tuple[Tensor, Tensor]:
    """A buffer (views, side + 2, side + 2, channels) with a zero border.

    Also returns its inside, a view (views, side, side, channels), to be written.
    """
    whole = scratch.take(name, views, side + 2, side + 2, channels)
    clear_border(whole)
    return whole, whole[:, 1:-1, 1:-1]


def clear_border(x: Tensor) -> None:
    """Zero the outermost pixels of (views, H, W, C)."""
    x[:, 0] = 0
    x[:, -1] = 0
    x[:, :, 0] = 0
    x[:, :, -1] = 0


class Conv3:
    """A 3 x 3 convolution; `normed`: an InstanceNorm follows, which cancels the bias."""

    def __init__(self, layer: nn.Conv2d, scratch: Scratch, *, normed: bool = True) -> None:
        weight = layer.weight.detach()  # (outputs, inputs, 3, 3)
        self._scratch = scratch
        self._weight = weight.permute(2, 3, 1, 0).reshape(-1, len(weight)).to(scratch.dtype)
        self._bias = None if normed or layer.bias is None else layer.bias.detach().to(scratch.dtype)
        self.channels = len(weight)

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Convolve x (views, side + 2, side + 2, inputs) -> out (views, side², outputs).

        The border of x is zero.
        """
        return convolve(x, self._weight, self._bias, 3, out, self._scratch)


class DoubledConv3:
    """A 3 x 3 convolution of an image doubled in size (nearest), at the original size.

    Each output pixel sees only 2 x 2 original ones, so four products with a quarter of the pixels each and 4 of 9 taps
    do the work.
    """

    def __init__(self, layer: nn.Conv2d, scratch: Scratch) -> None:
        weight = layer.weight.detach()
        outputs, inputs = weight.shape[:2]
        folded = torch.einsum("atk,bsl,oikl->tsiabo", DOUBLED_TAPS, DOUBLED_TAPS, weight)
        self._scratch = scratch
        self._weight = folded.reshape(4 * inputs, 4 * outputs).to(scratch.dtype)

    def __call__(self, x: Tensor, out: Tensor) -> Tensor:
        """Convolve x (1, n + 2, n + 2, inputs) -> out (1, (n + 1)², 4 * outputs).

        The border of x is zero. Row (p, q) of `out` holds the 2 x 2 output pixels (2 p + a, 2 q + b) of the image of
        side 2 n inside a border of one pixel, in the order (a, b, channel). Pixels on the border are not part of the
        image.
        """
        return convolve(x, self._weight, None, 2, out, self._scratch)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, taps: int, out: Tensor, scratch: Scratch) -> Tensor:
    """Convolve x (views, H, W, C) with weight (taps² C, outputs).

    -> out (views, (H - taps + 1) (W - taps + 1), outputs).
    """
    neighbours = x.unfold(1, taps, 1).unfold(2, taps, 1).permute(0, 1, 2, 4, 5, 3)  # (views, h, w, taps, taps, C)
    views, h, w = neighbours.shape[:3]
    step = max(1, chunk(len(weight)) // w)
    for view in range(views):
        for top in range(0, h, step):
            strip = neighbours[view, top : top + step]
            laid = scratch.take("neighbours", *strip.shape).copy_(strip).view(-1, len(weight))
            target = out[view, top * w : top * w + len(laid)]
            if bias is None:
                torch.mm(laid, weight, out=target)
            else:
                torch.addmm(bias, laid, weight, out=target)
    return out


def instance_affine(x: Tensor, excluded: int = 0) -> tuple[Tensor, Tensor]:
    """(pixels, C) -> scale and shift (C,) of its InstanceNorm, x * scale + shift.

    `excluded` pixels of x are zeros that are not part of the image.
    """
    pixels, channels = x.shape
    mean = torch.zeros(channels)
    variance = torch.zeros(channels)
    # momentum 1: the "running" statistics are this image's, in float32 for every dtype of x
    torch.batch_norm_update_stats(x.view(1, 1, pixels, channels).permute(0, 3, 1, 2), mean, variance, 1.0)
    total = mean.double() * pixels
    squares = variance.double() * (pixels - 1) + total * mean
    mean64 = total / (pixels - excluded)
    variance64 = (squares / (pixels - excluded) - mean64 * mean64).clamp_(min=0)
    scale = (variance64 + EPSILON).rsqrt()
    return scale.to(x.dtype), (-mean64 * scale).to(x.dtype)


def norm_gelu(x: Tensor) -> Tensor:
    """InstanceNorm and GELU in place on every view of (views, pixels, C)."""
    for view in x:
        scale, shift = instance_affine(view)
        for (part,) in chunks(view.shape[1], view):
            gelu_(torch.addcmul(shift, part, scale, out=part))
    return x
