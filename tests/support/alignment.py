"""The displacement of one image against another, by centres of bright spots.

A spot's centre of mass is invariant under even blur and averaging in squares no larger than the spot; a shift or a zoom
moves it. A line through the moves of all spots removes the rounding to 8 bits.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GROUND, PEAK = 20, 230
ACROSS, DOWN = 9, 3

WINDOW = 3.5
"""Half a side of the square around a spot that belongs to it, in standard deviations."""


class Spots:
    """A picture of soft spots, (H, W, 3) uint8.

    Nine in a line per channel, at the top, in the middle, at the bottom.

    sigma: standard deviation of a spot in px.
    """

    def __init__(self, width: int, height: int, sigma: float) -> None:
        self._reach = reach = round(WINDOW * sigma)
        across = np.linspace(reach + 1.3, width - reach - 2.3, ACROSS)
        down = np.linspace(reach + 1.6, height - reach - 2.6, DOWN)
        self._places = [(channel, x, y) for channel, y in enumerate(down) for x in across]
        light = np.full((height, width, 3), float(GROUND), np.float32)
        for channel, x, y in self._places:
            rows, columns = (slice(max(0, round(at - 6 * sigma)), round(at + 6 * sigma)) for at in (y, x))
            light[rows, columns, channel] += PEAK * np.outer(
                bell(height, y, sigma)[rows], bell(width, x, sigma)[columns]
            )
        self.pixels: NDArray[np.uint8] = light.round().astype(np.uint8)

    def displacement(self, found: NDArray[np.uint8]) -> float:
        """The largest corner displacement from this image to `found`, in px."""
        before, after = self._centres(self.pixels), self._centres(found)
        return float(np.hypot(*(end_moves(before[:, axis], after[:, axis], found.shape[1 - axis]) for axis in (0, 1))))

    def _centres(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(n, 2): x and y of every spot's centre of mass, from its own window."""
        return np.array([self._centre(pixels[:, :, channel], x, y) for channel, x, y in self._places])

    def _centre(self, channel: NDArray[np.uint8], x: float, y: float) -> tuple[float, float]:
        left, top, side = round(x) - self._reach, round(y) - self._reach, 2 * self._reach + 1
        light = channel[top : top + side, left : left + side].astype(np.float64) - GROUND
        places = np.arange(side) / light.sum()
        return left + light.sum(axis=0) @ places, top + light.sum(axis=1) @ places


def bell(length: int, centre: float, sigma: float) -> NDArray[np.float32]:
    """(length,): a Gaussian of height 1."""
    return np.exp(-((np.arange(length) - centre) ** 2) / (2 * sigma**2)).astype(np.float32)


def end_moves(before: NDArray[np.float64], after: NDArray[np.float64], length: int) -> float:
    """The largest end displacement of a side, on the line through all moves."""
    slope, start = np.polyfit(before, after - before, 1)
    return float(max(abs(start), abs(start + slope * length)))


def moved(picture: NDArray[np.uint8], across: float, down: float) -> NDArray[np.uint8]:
    """The picture shifted to the right and down by parts of a pixel."""
    return transformed(picture, (1, 0, -across, 0, 1, -down))


def zoomed(picture: NDArray[np.uint8], pixels: float) -> NDArray[np.uint8]:
    """The image widened about its centre, which moves its left and right borders."""
    factor = picture.shape[1] / (picture.shape[1] + 2 * pixels)
    return transformed(picture, (factor, 0, pixels * factor, 0, 1, 0))


def transformed(picture: NDArray[np.uint8], affine: tuple[float, ...]) -> NDArray[np.uint8]:
    whole = Image.fromarray(picture)
    return np.asarray(whole.transform(whole.size, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC))
