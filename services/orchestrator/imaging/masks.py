"""Masks as the composite's mask alpha: (H, W) uint8, 255 = repaint.

Order: choose subject or background → invert → threshold → fill holes → grow → feather. `levelled` does the first three
and `shaped` the rest, so a caller can check the mask in between. Pure functions of arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageFilter

from imgedit.imaging.images import Pixels
from services.orchestrator.imaging.fill_holes import fill_holes

LOW, HIGH = 0.02, 0.98
"""The part of an alpha that is stretched to 0 to 1: a sigmoid is never exactly 0 or 1."""

FEATHER_STEPS = 8
"""A wide feather is a staircase of this many steps, smoothed; a narrow one has a step per pixel."""

MaskSubject = Literal["subject", "background"]


@dataclass(frozen=True)
class MaskOptions:
    """Options of a mask.

    subject: the part of BEN2's alpha to take; None = a caller's mask. threshold: in (0, 1), the level that becomes one
    half. grow_px, feather_px: 0 to 256.
    """

    subject: MaskSubject | None
    invert: bool = False
    threshold: float = 0.5
    fill_holes: bool = False
    grow_px: int = 0
    feather_px: int = 0

    @property
    def keeps_subject(self) -> bool:
        """Whether the mask keeps the subject, which is then black in it."""
        return self.subject is not None and (self.subject == "background") != self.invert


def levelled(mask: Pixels, options: MaskOptions) -> Pixels:
    """Choose, invert and threshold.

    mask: BEN2's alpha (255 = subject), or a caller's mask if no subject is chosen. Only an alpha is stretched: a
    caller's black and white are exact.
    """
    mask_alpha = 255 - mask if (options.subject == "background") != options.invert else mask
    return relevel(mask_alpha, options.threshold, stretch=options.subject is not None)


def shaped(mask_alpha: Pixels, options: MaskOptions) -> Pixels:
    """Fill holes, grow, feather."""
    filled = fill_holes(mask_alpha) if options.fill_holes else mask_alpha
    return feather(grow(filled, options.grow_px), options.feather_px)


def relevel(alpha: Pixels, threshold: float, *, stretch: bool) -> Pixels:
    """Re-level a soft (H, W) uint8 so that `threshold` becomes one half.

    `stretch` then maps 0.02–0.98 to 0–1.

    threshold: in (0, 1); 0.5 changes nothing. Piecewise linear through (0, 0), (threshold, 0.5) and (1, 1).
    """
    levels = np.interp(np.linspace(0, 1, 256), (0, threshold, 1), (0, 0.5, 1))
    if stretch:
        levels = np.clip((levels - LOW) / (HIGH - LOW), 0, 1)
    table: Pixels = np.rint(levels * 255).astype(np.uint8)
    return table.take(alpha)


def grow(mask_alpha: Pixels, radius: int) -> Pixels:
    """Grow by `radius` px (0 to 256), square neighbourhood."""
    return _windowed(_windowed(mask_alpha, radius, np.maximum, axis=0), radius, np.maximum, axis=1)


def shrink(mask_alpha: Pixels, radius: int) -> Pixels:
    """Shrink by `radius` px (0 to 256), square neighbourhood.

    The image border does not count as an edge.
    """
    return _windowed(_windowed(mask_alpha, radius, np.minimum, axis=0), radius, np.minimum, axis=1)


def feather(mask_alpha: Pixels, radius: int) -> Pixels:
    """Soften the edge inward over `radius` px (0 to 256).

    The result never exceeds `mask_alpha`. It is the mean of the mask and its eroded versions up to the radius: it rises
    evenly from the edge, and parts thinner than the radius become faint but do not vanish.
    """
    if radius == 0:
        return mask_alpha
    steps = min(radius, FEATHER_STEPS)
    total, shrunken, reached = mask_alpha.astype(np.uint16), mask_alpha, 0
    for step in range(1, steps + 1):
        next_reach = radius * step // steps
        shrunken, reached = shrink(shrunken, next_reach - reached), next_reach
        total += shrunken
    mean = ((total + steps // 2) // (steps + 1)).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(mean).filter(ImageFilter.BoxBlur((radius / steps - 1) / 2)))
    softened: Pixels = np.minimum(mask_alpha, smooth)
    return softened


def _windowed(mask_alpha: Pixels, radius: int, extreme: np.ufunc, *, axis: int) -> Pixels:
    """Window extremes of 2 × radius + 1 along an axis, in log₂(radius) steps."""
    if radius == 0:
        return mask_alpha
    around = [(0, 0), (0, 0)]
    around[axis] = (radius, radius)
    window, reach = np.pad(mask_alpha, around, mode="edge"), 1
    while 2 * reach <= 2 * radius + 1:
        window, reach = extreme(_without(window, reach, axis, last=True), _without(window, reach, axis)), 2 * reach
    rest = 2 * radius + 1 - reach
    result: Pixels = extreme(_without(window, rest, axis, last=True), _without(window, rest, axis))
    return result


def _without(mask_alpha: Pixels, count: int, axis: int, *, last: bool = False) -> Pixels:
    """All but the first (or last) `count` rows (axis 0) or columns (axis 1)."""
    kept = slice(0, mask_alpha.shape[axis] - count) if last else slice(count, None)
    return mask_alpha[kept] if axis == 0 else mask_alpha[:, kept]
