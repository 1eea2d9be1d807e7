"""One fill job as plain values; imports neither torch nor proto types."""

from __future__ import annotations

from dataclasses import dataclass

from imgedit.imaging.images import Pixels


@dataclass(frozen=True)
class FillSpec:
    """The inputs of a fill job.

    image: (H, W, 3) uint8, H and W multiples of 16. mask: (H, W) uint8, every weight above 0 is repainted.
    negative_prompt: None = none, else true classifier-free guidance at `negative_scale`, a second pass per step.
    steps ≥ 1. guidance_scale: distilled guidance. strength: 0.0 to 1.0. seed: 0 to 2³² − 1. lora: name of a loaded
    LoRA, None = none. step_cache: skip steps by First Block Cache; the job then runs unbatched. region_steps: compute
    only what the mask asks for in most steps.
    """

    image: Pixels
    mask: Pixels
    prompt: str
    negative_prompt: str | None
    negative_scale: float
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    lora: str | None = None
    step_cache: bool = False
    region_steps: bool = False
