"""Masks as weights of the composite: (H, W) uint8, 255 = repaint. Pure functions of arrays.

The order is: choose subject or background → threshold → grow → feather. Feathering goes inward, so that nothing beyond
the grown edge changes.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from imgedit.images import Pixels

LOW, HIGH = 0.02, 0.98
"""The part of the alpha that is stretched to 0 to 1: a sigmoid is never exactly 0 or 1."""


def relevel(alpha: Pixels, threshold: float) -> Pixels:
    """Re-level a soft alpha so that `threshold` becomes one half, then stretch 0.02–0.98 to 0–1.

    alpha: (H, W) uint8. threshold: in (0, 1); 0.5 changes nothing. The re-levelling is piecewise linear through (0, 0),
    (threshold, 0.5) and (1, 1).
    """
    levels = np.interp(np.linspace(0, 1, 256), (0, threshold, 1), (0, 0.5, 1))
    table: Pixels = np.rint(np.clip((levels - LOW) / (HIGH - LOW), 0, 1) * 255).astype(np.uint8)
    return table.take(alpha)


def grow(weight: Pixels, radius: int) -> Pixels:
    """Grow by `radius` px (0 to 256), square neighbourhood."""
    return _windowed(weight, radius, ImageFilter.MaxFilter)


def feather(weight: Pixels, radius: int) -> Pixels:
    """Soften the edge over `radius` px (0 to 256) inward: the result is nowhere above `weight`.

    The mask shrinks by the radius, a box blur of the same radius spreads its edge back to where it was.
    """
    if radius == 0:
        return weight
    inner = Image.fromarray(_windowed(weight, radius, ImageFilter.MinFilter))
    softened: Pixels = np.minimum(weight, np.asarray(inner.filter(ImageFilter.BoxBlur(radius))))
    return softened


def _windowed(
    weight: Pixels, radius: int, make_filter: type[ImageFilter.MaxFilter] | type[ImageFilter.MinFilter]
) -> Pixels:
    """A square minimum or maximum filter, as several small ones: Pillow's cost grows with the window's area."""
    image = Image.fromarray(weight)
    while radius > 0:
        step = min(radius, 2)
        image = image.filter(make_filter(2 * step + 1))
        radius -= step
    return np.array(image)
