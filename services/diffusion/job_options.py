"""Options that jobs of both diffusion models share. No torch, no proto types."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options that a FillSpec and a QwenEditSpec share.

    negative_prompt: None = no second pass per step; a blank one counts. steps ≥ 1. strength: 0.0 to 1.0. seed: 0 to
    2³² − 1. lora: name of a loaded LoRA, None = none. step_cache: skip steps by First Block Cache; the job then runs
    unbatched. region_steps: in most steps compute only what the mask asks for, without one the result's tokens.
    """

    prompt: str
    negative_prompt: str | None
    steps: int
    strength: float
    seed: int
    lora: str | None = None
    step_cache: bool = False
    region_steps: bool = False
