"""One edit by instruction as plain values; imports neither torch nor proto types."""

from __future__ import annotations

from dataclasses import dataclass

from imgedit.imaging.pixels import Pixels
from services.diffusion.job_options import JobOptions


@dataclass(frozen=True, kw_only=True)
class QwenEditSpec(JobOptions):
    """What to edit.

    images: 1 to 3 pictures (H, W, 3) uint8; the first is edited and gives the output its size, H and W multiples of 16.
    true_cfg_scale: ≤ 1 runs no guidance pass. mask: (H, W) uint8, as large as the first picture, 255 = edit, 0 = keep
    its pixels, between = a blend; None = edit everywhere.
    """

    images: tuple[Pixels, ...]
    true_cfg_scale: float
    mask: Pixels | None = None
