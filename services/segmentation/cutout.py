"""From the alpha to images: the mask, and the subject on one colour.

NumPy only.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from imgedit.imaging.images import Pixels, blend


def to_mask(alpha: NDArray[np.float32]) -> Pixels:
    """(H, W) in [0, 1] -> (H, W) uint8, rounded to nearest."""
    mask: Pixels = np.rint(alpha * np.float32(255)).astype(np.uint8)
    return mask


def on_ground(image: Pixels, mask: Pixels, rgb: int) -> Pixels:
    """The subject on the colour 0xRRGGBB: (H, W, 3).

    Takes image (H, W, 3) and mask (H, W), 255 = subject. Exactly the image where the mask is 255, exactly the colour
    where it is 0, rounded to nearest between.
    """
    colour = np.array([[[rgb >> 16, rgb >> 8 & 0xFF, rgb & 0xFF]]], np.uint8)
    return blend(image, colour, mask[:, :, None])
