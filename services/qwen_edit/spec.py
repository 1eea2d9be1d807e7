"""One edit by instruction as plain values; imports neither torch nor proto types."""

from __future__ import annotations

from dataclasses import dataclass

from imgedit.imaging.images import Pixels


@dataclass(frozen=True)
class QwenEditSpec:
    """The inputs of an edit.

    images: 1 to 3 images (H, W, 3) uint8; the first is edited and gives the output its size, H and W multiples of 16.
    negative_prompt: None = no guidance pass; a blank one counts. true_cfg_scale: ≤ 1 runs no guidance pass. mask: (H,
    W) uint8, as large as the first image, 255 = edit, 0 = keep its pixels, between = a blend; None = edit everywhere.
    steps ≥ 1. strength: 0.0 to 1.0. seed: 0 to 2³² − 1. lora: name of a loaded LoRA, None = none. step_cache: skip
    steps by First Block Cache; the job then runs unbatched. region_steps: compute only what the mask asks for, without
    one only the answer's own tokens, in most steps.
    """

    images: tuple[Pixels, ...]
    prompt: str
    negative_prompt: str | None
    true_cfg_scale: float
    steps: int
    strength: float
    seed: int
    mask: Pixels | None = None
    lora: str | None = None
    step_cache: bool = False
    region_steps: bool = False
