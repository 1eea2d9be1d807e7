"""The work area: what of a picture a model is sent, and the way back to full size. No torch.

A model is sent at most `max_pixels` of the picture, padded to sides that are multiples of 16. The picture is scaled
by one factor and padded at the right and bottom, never stretched, so what comes back lies where it was.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgedit.images import Pixels

MULTIPLE = 16


@dataclass(frozen=True)
class WorkArea:
    """Sizes in pixels: `full` of the picture, `content` of the scaled picture, `padded` of what the model is sent."""

    full: tuple[int, int]
    content: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], max_pixels: int) -> WorkArea:
        """The work area of a picture of `size` (width, height)."""
        width, height = size
        scale = min(1.0, math.sqrt(max_pixels / (width * height)))
        content = (max(1, round(width * scale)), max(1, round(height * scale)))
        return cls(size, content, (_up(content[0]), _up(content[1])))

    def enter(self, rgb: Pixels) -> Pixels:
        """(H, W, 3) at full size → (padded height, padded width, 3); the padding repeats the edge."""
        return self._pad(_resize(rgb, self.content, Image.Resampling.LANCZOS))

    def enter_mask(self, weight: Pixels) -> Pixels:
        """(H, W) weight → (padded height, padded width), 255 wherever a pixel with a weight above 0 falls."""
        touched = np.where(weight > 0, np.uint8(255), np.uint8(0))
        scaled = _resize(touched, self.content, Image.Resampling.BOX)
        return self._pad(np.where(scaled > 0, np.uint8(255), np.uint8(0)))

    def leave(self, rgb: Pixels) -> Pixels:
        """What the model painted, back at full size."""
        width, height = self.content
        return _resize(np.ascontiguousarray(rgb[:height, :width]), self.full, Image.Resampling.LANCZOS)

    def _pad(self, pixels: Pixels) -> Pixels:
        below, right = self.padded[1] - pixels.shape[0], self.padded[0] - pixels.shape[1]
        return np.pad(pixels, ((0, below), (0, right), *((0, 0),) * (pixels.ndim - 2)), mode="edge")


def _up(side: int) -> int:
    return math.ceil(side / MULTIPLE) * MULTIPLE


def _resize(pixels: Pixels, size: tuple[int, int], resample: Image.Resampling) -> Pixels:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize(size, resample))
