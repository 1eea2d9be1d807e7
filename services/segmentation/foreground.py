"""The subject's own colours at soft edges: blur-fusion foreground estimation. NumPy only.

A pixel at a soft edge mixes the subject with the old background; laid over a new ground it would show a fringe of the
old one. The formula estimates what the subject alone looks like there: Forte, "Approximate Fast Foreground Colour
Estimation" (ICIP 2021), in two passes with the radii that BEN2 uses. The module does not know where the alpha is from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from imgedit.images import Pixels

WIDE = 90  # side of the first pass's box, in pixels
NARROW = 6  # side of the second pass's
EPSILON = np.float32(1e-5)  # keeps the means over regions without foreground (or background) finite

Floats = NDArray[np.float32]
Layers = Callable[[slice], Floats]
"""Rows -> (7, h, W): alpha, the foreground times alpha, the background times 1 - alpha."""


def estimate_foreground(image: Pixels, alpha: NDArray[np.float32]) -> Pixels:
    """The subject's colours (H, W, 3) for an image (H, W, 3) in sRGB and its alpha (H, W) in [0, 1].

    Where alpha is 1 these are the image's; far from the subject they are black. Raises ValueError for an alpha of
    another size.
    """
    if alpha.shape != image.shape[:2]:
        raise ValueError(f"the alpha is {alpha.shape} and the image {image.shape[:2]}")
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))
    alpha = np.ascontiguousarray(alpha, np.float32)
    foreground, background = _wide_pass(planes, alpha)
    return _narrow_pass(planes, foreground, background, alpha)


def _wide_pass(image: Pixels, alpha: Floats) -> tuple[Floats, Floats]:
    """Foreground and background (3, H, W) as the wide means see them; the image (3, H, W) stands for both."""

    def layers(rows: slice) -> Floats:
        result = np.empty((7, rows.stop - rows.start, alpha.shape[1]), np.float32)
        colours = _unit(image[:, rows])
        result[0] = alpha[rows]
        np.multiply(colours, alpha[rows], out=result[1:4])
        np.subtract(colours, result[1:4], out=result[4:])
        return result

    foreground, background = np.empty(image.shape, np.float32), np.empty(image.shape, np.float32)
    for rows, columns, means in box_means(layers, alpha.shape, WIDE):
        foreground[:, rows, columns], background[:, rows, columns] = _fuse(
            _unit(image[:, rows, columns]), alpha[rows, columns], means
        )
    return foreground, background


def _narrow_pass(image: Pixels, foreground: Floats, background: Floats, alpha: Floats) -> Pixels:
    """The second pass over the first one's results: (H, W, 3) uint8."""

    def layers(rows: slice) -> Floats:
        result = np.empty((7, rows.stop - rows.start, alpha.shape[1]), np.float32)
        result[0] = alpha[rows]
        np.multiply(foreground[:, rows], alpha[rows], out=result[1:4])
        np.multiply(background[:, rows], 1 - alpha[rows], out=result[4:])
        return result

    result = np.empty((*alpha.shape, 3), np.uint8)
    for rows, columns, means in box_means(layers, alpha.shape, NARROW):
        colours, _ = _fuse(_unit(image[:, rows, columns]), alpha[rows, columns], means)
        colours *= 255
        colours += 0.5
        result[rows, columns] = colours.transpose(1, 2, 0)
    return result


def _unit(pixels: Pixels) -> Floats:
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


def _fuse(image: Floats, alpha: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Both colours (3, h, w), from the image's, the alpha (h, w) and the means (7, h, w), which are overwritten."""
    foreground, background = means[1:4], means[4:]
    foreground /= means[0] + EPSILON
    background /= 1 - means[0] + EPSILON
    image -= alpha * foreground
    image -= (1 - alpha) * background
    image *= alpha
    image += foreground
    return np.clip(image, 0, 1, out=image), background


def box_means(layers: Layers, shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, slice, Floats]]:
    """Means over a box of side x side pixels, block by block: (rows, columns, (7, h, w)).

    The box reaches side // 2 pixels up and left, one less down and right; beyond the border the picture is mirrored
    without repeating the border pixel. Each direction is a product with a banded matrix, which a processor does faster
    than running sums; sums of up to `side` non-negative numbers keep their relative accuracy in float32.
    """
    height, width = shape
    across = list(_bands(width, side))
    for rows, seen_rows, down in _bands(height, side):
        slid = np.matmul(down, layers(seen_rows))  # (7, h, W)
        for columns, seen_columns, band in across:
            yield rows, columns, np.matmul(slid[:, :, seen_columns], band.T)


def _bands(length: int, side: int) -> Iterator[tuple[slice, slice, Floats]]:
    """Blocks of places, the places that their boxes see, and the weights (block, seen) that make the means of them."""
    block = 128 if side > 32 else 64
    reach = np.pad(np.arange(length), (side // 2, side - 1 - side // 2), mode="reflect")
    for start in range(0, length, block):
        stop = min(start + block, length)
        boxes = np.lib.stride_tricks.sliding_window_view(reach[start : stop + side - 1], side)  # (block, side)
        seen = slice(int(boxes.min()), int(boxes.max()) + 1)
        weights = np.zeros((stop - start, seen.stop - seen.start), np.float32)
        np.add.at(weights, (np.arange(stop - start)[:, None], boxes - seen.start), np.float32(1 / side))
        yield slice(start, stop), seen, weights
