"""The work area: a model's input, and the way back to full size.

A model gets about as many pixels as it was trained on. An image above `max_pixels` is scaled down, one below
`min_pixels` up, by one factor, then padded right and below to multiples of 16. It is never stretched, so the result
lies in the same place. A small mask gets its own work area: its box with context, cropped at a higher resolution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from imgedit.imaging.images import Pixels, resized

MULTIPLE = 16
MIN_CONTEXT_PX = 64
CONTEXT_FRACTION = 0.25
"""Context around a mask's box, of the box's longer side."""

MAX_ASPECT = 200
"""Of Qwen2.5-VL's image processor, long side to short."""

MAX_ENLARGED_SIDE = 4096
"""A strip is not made longer than this to reach `min_pixels`."""

WORTH_CROPPING = 0.8
"""A crop is used when it has at most this part of the picture's pixels."""


@dataclass(frozen=True)
class WorkPixels:
    """Pixel limits for a model's input.

    `most` wins over a larger `least`.
    """

    most: int
    least_of_fill: int
    least_of_qwen_edit: int


@dataclass(frozen=True)
class Box:
    """A rectangle of an image in pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.right - self.left, self.bottom - self.top

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices (rows, columns) for an array."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


@dataclass(frozen=True)
class WorkArea:
    """The work area.

    `box` of the image, scaled to `content`, padded to `padded` (width, height).
    """

    box: Box
    content: tuple[int, int]
    padded: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], max_pixels: int, min_pixels: int = 1) -> WorkArea:
        """The work area of a whole image of `size` (width, height)."""
        return cls._of_box(Box(0, 0, *size), max_pixels, min_pixels)

    @classmethod
    def around(cls, mask_alpha: Pixels, max_pixels: int, min_pixels: int = 1) -> WorkArea:
        """The work area of the region of (H, W) `mask_alpha` above 0.

        Cropped if that pays.
        """
        height, width = mask_alpha.shape
        crop = _with_context(_box_of(mask_alpha), width, height)
        crop_width, crop_height = crop.size
        if crop_width * crop_height > WORTH_CROPPING * width * height:
            return cls.of((width, height), max_pixels, min_pixels)
        return cls._of_box(crop, max_pixels, min_pixels)

    @classmethod
    def _of_box(cls, box: Box, max_pixels: int, min_pixels: int) -> WorkArea:
        width, height = box.size
        most, least = (math.sqrt(pixels / (width * height)) for pixels in (max_pixels, min_pixels))
        largest = max(1.0, MAX_ENLARGED_SIDE / max(width, height))
        scale = min(max(1.0, least), most, largest)
        round_side = math.ceil if scale > 1 else round  # rounding down would miss min_pixels
        content = (max(1, round_side(width * scale)), max(1, round_side(height * scale)))
        return cls(box, content, (_up(content[0]), _up(content[1])))

    def enter(self, rgb: Pixels) -> Pixels:
        """(H, W, 3) at full size → (padded height, padded width, 3).

        The padding repeats the edge.
        """
        return self._pad(resized(rgb[self.box.slices], self.content, Image.Resampling.LANCZOS))

    def enter_mask(self, mask_alpha: Pixels) -> Pixels:
        """(H, W) mask alpha → (padded height, padded width).

        255 wherever a pixel with a mask alpha above 0 falls.
        """
        touched = np.where(mask_alpha[self.box.slices] > 0, np.uint8(255), np.uint8(0))
        scaled = resized(touched, self.content, Image.Resampling.BOX)
        return self._pad(np.where(scaled > 0, np.uint8(255), np.uint8(0)))

    def leave(self, painted: Pixels, onto: Pixels) -> Pixels:
        """Scale the model's result back and paste it into a copy of (H, W, 3) `onto`."""
        width, height = self.content
        full = onto.copy()
        inside = np.ascontiguousarray(painted[:height, :width])
        full[self.box.slices] = resized(inside, self.box.size, Image.Resampling.LANCZOS)
        return full

    def _pad(self, pixels: Pixels) -> Pixels:
        below, right = self.padded[1] - pixels.shape[0], self.padded[0] - pixels.shape[1]
        return np.pad(pixels, ((0, below), (0, right), *((0, 0),) * (pixels.ndim - 2)), mode="edge")


def _box_of(mask_alpha: Pixels) -> Box:
    """The smallest box around every mask alpha above 0.

    The whole image if there is none.
    """
    rows, columns = np.flatnonzero(mask_alpha.any(axis=1)), np.flatnonzero(mask_alpha.any(axis=0))
    if not rows.size:
        return Box(0, 0, mask_alpha.shape[1], mask_alpha.shape[0])
    return Box(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def _with_context(box: Box, width: int, height: int) -> Box:
    context = max(MIN_CONTEXT_PX, round(CONTEXT_FRACTION * max(box.size)))
    return Box(
        max(0, box.left - context),
        max(0, box.top - context),
        min(width, box.right + context),
        min(height, box.bottom + context),
    )


def _up(side: int) -> int:
    return math.ceil(side / MULTIPLE) * MULTIPLE


def looked_at(rgb: Pixels, max_pixels: int) -> Pixels:
    """An image as Qwen2.5-VL sees it.

    Within `max_pixels` and its longest side.
    """
    width, height = WorkArea.of((rgb.shape[1], rgb.shape[0]), max_pixels).content
    least = math.ceil(max(width, height) / MAX_ASPECT)  # rounding down the short side makes it longer
    return resized(rgb, (max(width, least), max(height, least)), Image.Resampling.LANCZOS)
