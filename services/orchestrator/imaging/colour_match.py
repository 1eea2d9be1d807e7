"""Match the tone of a painted region to its surroundings, so that no seam shows.

A model's autoencoder shifts colours slightly. The shift is measured at kept pixels, interpolated smoothly into the
painted region and subtracted there. Pure functions of arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imgedit.imaging.images import Pixels, resized

MAX_SHIFT = 32.0
"""Levels (of 255) that a pixel may be moved at most: a shift is corrected, the picture is not repainted."""

CELL_PX = 16
"""Side of the cells in which the shift is measured."""

_SCALE = 127 / MAX_SHIFT
"""The shift is spread over the picture as bytes around 128, in steps of a quarter of a level."""

_LEVELS = np.rint((np.arange(256) - 128) / _SCALE).astype(np.int16)

_BAND = 256

Field = NDArray[np.float32]


def match_colours(painted: Pixels, original: Pixels, mask_alpha: Pixels) -> Pixels:
    """(H, W, 3) `painted` with the tone of `original` (H, W, 3).

    Unchanged if nothing is painted or nothing kept.

    mask_alpha: (H, W), 0 = kept, where both images should be equal. The mean difference per cell spreads into cells
    without kept pixels by pull-push interpolation (Gortler et al., "The Lumigraph", SIGGRAPH 1996).
    """
    if mask_alpha.all() or not mask_alpha.any():
        return painted
    shift, share = _measured(painted, original, mask_alpha)
    spread = np.dstack([_pull_push(shift[:, :, channel], share) for channel in range(3)])
    steps = np.rint(np.clip(spread, -MAX_SHIFT, MAX_SHIFT) * _SCALE) + 128
    size = (steps.shape[1] * CELL_PX, steps.shape[0] * CELL_PX)
    smooth = resized(steps.astype(np.uint8), size, Image.Resampling.BILINEAR)
    matched = np.empty_like(painted)
    for top in range(0, len(painted), _BAND):
        band = slice(top, min(top + _BAND, len(painted)))
        moved = painted[band] + _LEVELS.take(smooth[band, : painted.shape[1]])
        matched[band] = np.clip(moved, 0, 255, out=moved)
    return matched


def _measured(painted: Pixels, original: Pixels, mask_alpha: Pixels) -> tuple[Field, Field]:
    """Sums of differences of kept pixels per cell, and shares of kept pixels.

    (h, w, 3) and (h, w).
    """
    height, width = mask_alpha.shape
    columns = np.arange(0, width, CELL_PX)
    shifts, shares = [], []
    for top in range(0, height, CELL_PX):
        band = slice(top, min(top + CELL_PX, height))
        kept = mask_alpha[band] == 0
        differences = (original[band].astype(np.int16) - painted[band]) * kept[:, :, None]
        shifts.append(np.add.reduceat(differences.sum(axis=0, dtype=np.int32), columns, axis=0))
        shares.append(np.add.reduceat(kept.sum(axis=0, dtype=np.int32), columns))
    area = np.float32(CELL_PX * CELL_PX)
    return np.stack(shifts).astype(np.float32) / area, np.stack(shares).astype(np.float32) / area


def _pull_push(weighted: Field, share: Field) -> Field:
    """Values (weighted / share) where the share is above 0.

    Elsewhere those of the next coarser level, blended in.
    """
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
