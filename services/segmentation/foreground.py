"""The subject's own colours at soft edges: blur-fusion foreground estimation.

A pixel at a soft edge mixes the subject with the old background, which would show as a fringe on a new one. The formula
estimates the subject's colour: Forte, "Approximate Fast Foreground Colour Estimation" (ICIP 2021), in two passes with
BEN2's radii. Away from edges the result is the image's colour or black, so only tiles near edges are computed. NumPy
only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from imgedit.imaging.images import Pixels

WIDE = 90  # side of the first pass's box, in pixels
NARROW = 6  # side of the second pass's
TILE = 64  # side of the tiles that are computed or not
MAX_THREADS = 4  # the sums are bound by memory
EPSILON = np.float32(1e-5)  # keeps the means over regions without foreground (or background) finite

Floats = NDArray[np.float32]


def estimate_foreground(image: Pixels, alpha: NDArray[np.float32]) -> Pixels:
    """The subject's colours (H, W, 3) for an image (H, W, 3) in sRGB and its alpha.

    alpha: (H, W) in [0, 1]. Where it is 1 these are the image's colours; away from the subject they are black. Raises
    ValueError for an alpha of another size.
    """
    if alpha.shape != image.shape[:2]:
        raise ValueError(f"the alpha is {alpha.shape} and the image {image.shape[:2]}")
    lines = np.ascontiguousarray(image.transpose(0, 2, 1))
    alpha = np.ascontiguousarray(alpha, np.float32)
    result: Pixels = np.multiply(image, (alpha == 1)[:, :, None], dtype=np.uint8)
    edges = list(_edges(alpha))
    with ThreadPoolExecutor(max_workers=min(MAX_THREADS, os.cpu_count() or 1)) as threads:
        for (rows, columns), colours in zip(
            edges, threads.map(lambda edge: _estimate(lines, alpha, *edge), edges), strict=True
        ):
            result[rows, columns] = colours
    return result


def _edges(alpha: Floats) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of all tiles whose narrow boxes see both 0 and 1.

    Neighbours in a row are joined.
    """
    height, width = alpha.shape
    for rows in _tiles(height):
        band = alpha[_seen(height, NARROW, rows)]
        tiles = ((columns, band[:, _seen(width, NARROW, columns)]) for columns in _tiles(width))
        for is_edge, run in groupby(tiles, lambda tile: not (tile[1].min() == 1 or tile[1].max() == 0)):
            columns = [tile[0] for tile in run]
            if is_edge:
                yield rows, slice(columns[0].start, columns[-1].stop)


def _estimate(image: Pixels, alpha: Floats, rows: slice, columns: slice) -> Pixels:
    """Both passes for some rows and columns of the image (H, 3, W): (h, w, 3) uint8."""
    near_rows, near_columns = _seen(alpha.shape[0], NARROW, rows), _seen(alpha.shape[1], NARROW, columns)
    colours, weight = _unit(image[near_rows, :, near_columns]), alpha[near_rows, None, near_columns]
    foreground, background = _fuse(colours, weight, _wide_means(image, alpha, near_rows, near_columns))

    layers = np.concatenate([weight, foreground * weight, background * (1 - weight)], axis=1)
    means = box_means(_mirrored(layers, alpha.shape, NARROW, rows, columns), NARROW)
    fused, _ = _fuse(_unit(image[rows, :, columns]), alpha[rows, None, columns], means)
    fused *= 255
    fused += 0.5
    result: Pixels = fused.astype(np.uint8).transpose(0, 2, 1)
    return result


def _wide_means(image: Pixels, alpha: Floats, rows: slice, columns: slice) -> Floats:
    """The first pass's means (h, 7, w), the image as both foreground and background."""
    seen_rows, seen_columns = _seen(alpha.shape[0], WIDE, rows), _seen(alpha.shape[1], WIDE, columns)
    weight, colours = alpha[seen_rows, None, seen_columns], _unit(image[seen_rows, :, seen_columns])
    layers = np.empty((len(weight), 7, weight.shape[2]), np.float32)
    layers[:, :1] = weight
    np.multiply(colours, weight, out=layers[:, 1:4])
    np.subtract(colours, layers[:, 1:4], out=layers[:, 4:])
    return box_means(_mirrored(layers, alpha.shape, WIDE, rows, columns), WIDE)


def _unit(pixels: Pixels) -> Floats:
    return np.multiply(pixels, np.float32(1 / 255), dtype=np.float32)


def _fuse(image: Floats, alpha: Floats, means: Floats) -> tuple[Floats, Floats]:
    """Both colours (h, 3, w), from the image's, the alpha (h, 1, w) and the means.

    The means (h, 7, w) are overwritten.
    """
    coverage, foreground, background = means[:, :1], means[:, 1:4], means[:, 4:]
    foreground /= coverage + EPSILON
    background /= 1 - coverage + EPSILON
    image -= alpha * foreground
    image -= (1 - alpha) * background
    image *= alpha
    image += foreground
    return np.clip(image, 0, 1, out=image), background


def box_means(layers: Floats, side: int) -> Floats:
    """Means over all boxes of side x side pixels that fit inside.

    (H, n, W) -> (H - side + 1, n, W - side + 1). A box sum is composed of sums over powers of two: few additions, of
    non-negative numbers only, so float32 keeps the relative accuracy that running sums lose.
    """
    down = _sums(layers.reshape(len(layers), -1).T, side).T.reshape(-1, *layers.shape[1:])
    means = _sums(down, side)
    means *= np.float32(1 / side**2)
    return means


def _sums(x: Floats, side: int) -> Floats:
    """Sums over all runs of `side` numbers along the last axis."""
    count, size, done = x.shape[-1] - side + 1, 1, 0
    total: Floats | None = None
    while True:
        if side & size:
            part = x[..., done : done + count]
            total = part.copy("K") if total is None else np.add(total, part, out=total)
            done += size
        if done == side and total is not None:
            return total
        x = x[..., :-size] + x[..., size:]  # sums over twice as many
        size *= 2


def _mirrored(layers: Floats, shape: tuple[int, ...], side: int, rows: slice, columns: slice) -> Floats:
    """The region that the boxes of some places cover.

    `layers` is its part inside the image of `shape`. Beyond the border the image is mirrored without repeating the
    border pixel.
    """
    (above, below), (left, right) = (
        (max(0, side // 2 - places.start), max(0, places.stop + side - 1 - side // 2 - length))
        for length, places in zip(shape, (rows, columns), strict=True)
    )
    if not any((above, below, left, right)):
        return layers
    return np.pad(layers, ((above, below), (0, 0), (left, right)), mode="reflect")


def _tiles(length: int) -> Iterator[slice]:
    return (slice(start, min(start + TILE, length)) for start in range(0, length, TILE))


def _seen(length: int, side: int, places: slice) -> slice:
    """The range of the image that the boxes of some places cover.

    side // 2 before them, one less after.
    """
    return slice(max(0, places.start - side // 2), min(length, places.stop + side - 1 - side // 2))
