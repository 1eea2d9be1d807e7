"""One fill job as plain values; imports neither torch nor proto types."""

from __future__ import annotations

from dataclasses import dataclass

from imgedit.imaging.pixels import Pixels
from services.diffusion.job_options import JobOptions


@dataclass(frozen=True, kw_only=True)
class FillSpec(JobOptions):
    """What to repaint.

    image: (H, W, 3) uint8, H and W multiples of 16. mask: (H, W) uint8, every alpha above 0 is repainted.
    negative_scale: of true classifier-free guidance where there is a negative prompt, a second pass per step.
    guidance_scale: distilled guidance.
    """

    image: Pixels
    mask: Pixels
    negative_scale: float
    guidance_scale: float
