"""The subject's own colours at soft edges, at full size.

A pixel at a soft edge mixes subject and old background. BEN2's service estimates the subject's colours at its own
resolution. The difference is scaled up and added to the full-size image, which keeps its detail. Pure functions of
arrays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgedit.imaging.images import Pixels

_BAND = 256

Places = NDArray[np.intp]


@dataclass(frozen=True)
class ForegroundColours:
    """An image as BEN2 saw it, and with the subject's own colours at soft edges.

    (h, w, 3) uint8 each.
    """

    seen: Pixels
    foreground: Pixels

    def relaid(self, rgb: Pixels, share: Pixels) -> Pixels:
        """(H, W, 3) `rgb`, moved towards the subject's own colours by `share` / 255.

        share: (H, W) uint8; 0 leaves the pixel unchanged.
        """
        correction = self.foreground.astype(np.int16) - self.seen
        result = rgb.copy()
        for top in range(0, len(rgb), _BAND):
            rows, columns = np.nonzero(share[top : top + _BAND])
            rows += top
            moved = _sampled(correction, rows, columns, share.shape) * (share[rows, columns, None] / np.float32(255))
            result[rows, columns] = np.clip(np.rint(rgb[rows, columns] + moved), 0, 255)
        return result


def _sampled(small: NDArray[np.int16], rows: Places, columns: Places, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Bilinear samples (n, 3) of (h, w, 3) `small` at pixels of `shape` (H, W)."""
    (above, below, down), (left, right, across) = (
        _neighbours(places, length, of)
        for places, length, of in ((rows, shape[0], small.shape[0]), (columns, shape[1], small.shape[1]))
    )
    one = np.float32(1)
    upper = small[above, left] * (one - across) + small[above, right] * across
    lower = small[below, left] * (one - across) + small[below, right] * across
    result: NDArray[np.float32] = upper * (one - down) + lower * down
    return result


def _neighbours(places: Places, length: int, of: int) -> tuple[Places, Places, NDArray[np.float32]]:
    """Neighbouring indices along an axis and the distance from the first, (n, 1).

    Maps places of `length` to pixels of `of`.
    """
    middles = np.clip((places + 0.5) * (of / length) - 0.5, 0, of - 1)
    first = middles.astype(np.intp)
    return first, np.minimum(first + 1, of - 1), (middles - first).astype(np.float32)[:, None]


def share_of_subject(mask_alpha: Pixels, kept: Pixels) -> Pixels:
    """The subject's share in what a soft pixel keeps, as (H, W) uint8 for `relaid`.

    mask_alpha: (H, W) of the composite, which keeps k = 1 − mask_alpha. kept: (H, W), the subject's alpha a; the old
    pixel is a F + (1 − a) B. Up to a, the kept part is subject, F. Beyond, it is old background that a feather keeps on
    purpose: k K = a F + (k − a) B, which is K = I + s (F − I) with s = a (1 − k) / (k (1 − a)).
    """
    share = np.zeros_like(mask_alpha)
    soft = np.nonzero((mask_alpha > 0) & (mask_alpha < 255) & (kept > 0))
    k, a = (255 - mask_alpha[soft]).astype(np.float32), kept[soft].astype(np.float32)
    beyond = a * (255 - k) / np.maximum(k * (255 - a), 1)
    share[soft] = np.rint(255 * np.where(k <= a, np.float32(1), beyond))
    return share


def share_of_cutout(alpha: Pixels) -> Pixels:
    """The share for a cut-out by (H, W) `alpha`.

    The full correction where the edge is soft.
    """
    return np.where((alpha > 0) & (alpha < 255), np.uint8(255), np.uint8(0))
