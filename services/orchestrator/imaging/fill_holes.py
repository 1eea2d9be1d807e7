"""Holes of a mask: black regions that white encloses.

NumPy only, in time independent of the mask's shape. Black pixels of a row form runs; touching runs of neighbouring rows
belong together. A component that does not touch the border is a hole.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from imgedit.imaging.images import Pixels

Flags = NDArray[np.bool_]
Numbers = NDArray[np.int64]

OUTSIDE = 0
"""The label of everything beyond the border; runs are labelled from 1."""


def fill_holes(mask_alpha: Pixels) -> Pixels:
    """(H, W) uint8 with its holes white.

    A hole is below one half and enclosed by one half and more, corners included. If pure white encloses it, its soft
    edge is filled too.
    """
    filled = mask_alpha.copy()
    for level in (128, 255):
        filled[enclosed(mask_alpha < level)] = 255
    return filled


def enclosed(black: Flags) -> Flags:
    """The set pixels of (H, W) `black` without a 4-connected path to the border."""
    runs = _Runs.of(black)
    upper, lower = runs.touching()
    border = runs.at_border()
    root = _roots(
        len(runs.starts) + 1,
        np.concatenate([upper + 1, border + 1]),
        np.concatenate([lower + 1, np.full_like(border, OUTSIDE)]),
    )
    return runs.painted(root[1:] != OUTSIDE)


@dataclass(frozen=True)
class _Runs:
    """Runs of set pixels as start and end offsets, in rows laid end to end.

    Each row has one extra unset column, so no run continues into the next row.
    """

    starts: Numbers
    ends: Numbers
    height: int
    width: int

    @classmethod
    def of(cls, black: Flags) -> _Runs:
        height, width = black.shape
        flat = np.pad(black, ((0, 0), (0, 1))).ravel()
        turns = np.flatnonzero(flat[1:] != flat[:-1]) + 1
        if flat[0]:
            turns = np.concatenate([[0], turns])
        return cls(turns[::2], turns[1::2], height, width)

    def touching(self) -> tuple[Numbers, Numbers]:
        """All pairs (run, run below it) that share a column."""
        first = np.searchsorted(self.ends, self.starts + self.width + 1, "right")
        behind = np.searchsorted(self.starts, self.ends + self.width + 1, "left")
        counts = behind - first
        upper = np.repeat(np.arange(len(counts)), counts)
        place = np.arange(len(upper)) - np.repeat(np.cumsum(counts) - counts, counts)
        return upper, np.repeat(first, counts) + place

    def at_border(self) -> Numbers:
        """The runs that touch the border."""
        rows, columns = np.divmod(self.starts, self.width + 1)
        at_side = (columns == 0) | (self.ends % (self.width + 1) == self.width)
        return np.flatnonzero(at_side | (rows == 0) | (rows == self.height - 1))

    def painted(self, chosen: Flags) -> Flags:
        """(H, W), set in the chosen runs."""
        steps = np.zeros(self.height * (self.width + 1) + 1, np.int8)
        steps[self.starts[chosen]] = 1
        steps[self.ends[chosen]] = -1
        flat = np.cumsum(steps[:-1], dtype=np.int8).astype(np.bool_)
        return flat.reshape(self.height, self.width + 1)[:, : self.width]


def _roots(count: int, one: Numbers, other: Numbers) -> Numbers:
    """The smallest label connected to each of `count` labels.

    Links are pairs (one[i], other[i]). Hooking and pointer jumping (Shiloach and Vishkin, "An O(log n) parallel
    connectivity algorithm", 1982).
    """
    root = np.arange(count)
    while one.size:
        np.minimum.at(root, np.maximum(one, other), np.minimum(one, other))
        while not np.array_equal(further := root[root], root):
            root = further
        one, other = root[one], root[other]
        apart = one != other
        one, other = one[apart], other[apart]
    return root
