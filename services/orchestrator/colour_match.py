"""Colour matching: a painted region takes on the tone of the picture around it, so that no seam shows.

A model's autoencoder shifts colours a little, everywhere it worked. Where pixels are kept, that shift can be measured;
it is carried smoothly into the painted region and taken back there. Pure functions of arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgedit.images import Pixels

MAX_SHIFT = 32.0
"""Levels (of 255) that a pixel may be moved at most: a shift is corrected, the picture is not repainted."""

CELL_PX = 16
"""Side of the cells in which the shift is measured."""

Field = NDArray[np.float32]


def match_colours(painted: Pixels, original: Pixels, weight: Pixels) -> Pixels:
    """(H, W, 3) `painted` with the tone of `original` (H, W, 3); unchanged where nothing is kept.

    weight: (H, W), 0 = kept, where both pictures should be equal. The mean difference per cell is spread into the cells
    without kept pixels by pull-push interpolation (Gortler et al., "The Lumigraph", SIGGRAPH 1996), so it is smooth.
    """
    kept = (weight == 0).astype(np.float32)
    if not kept.any() or kept.all():
        return painted
    height, width = weight.shape
    cells = (max(1, -(-width // CELL_PX)), max(1, -(-height // CELL_PX)))
    share = _resized(kept, cells, Image.Resampling.BOX)
    matched = np.empty_like(painted)
    for channel in range(3):
        shift = (original[:, :, channel].astype(np.float32) - painted[:, :, channel]) * kept
        spread = _pull_push(_resized(shift, cells, Image.Resampling.BOX), share)
        smooth = _resized(np.clip(spread, -MAX_SHIFT, MAX_SHIFT), (width, height), Image.Resampling.BILINEAR)
        matched[:, :, channel] = np.clip(np.rint(painted[:, :, channel] + smooth), 0, 255)
    return matched


def _pull_push(weighted: Field, share: Field) -> Field:
    """Values (weighted / share) where the share is above 0; elsewhere those of the next coarser level, blended in."""
    if share.size == 1 or share.min() >= 1:
        return np.divide(weighted, np.maximum(share, np.float32(1e-6)), dtype=np.float32)
    half = (-(-share.shape[1] // 2), -(-share.shape[0] // 2))
    coarse = _pull_push(
        _resized(weighted, half, Image.Resampling.BOX),
        _resized(share, half, Image.Resampling.BOX),
    )
    below = _resized(coarse, (share.shape[1], share.shape[0]), Image.Resampling.BILINEAR)
    return (weighted + (1 - np.minimum(share, 1)) * below).astype(np.float32)


def _resized(field: Field, size: tuple[int, int], resample: Image.Resampling) -> Field:
    return np.asarray(Image.fromarray(field).resize(size, resample), np.float32)
