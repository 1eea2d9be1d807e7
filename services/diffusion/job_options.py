"""Options that jobs of both diffusion models share. No torch, no proto types."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoraUse:
    """A LoRA of the service's folder in a job.

    version: of its file. scale: its strength, not 0. nbytes: of its matrices in the transformer.
    """

    name: str
    version: str
    scale: float
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The options that a FillSpec and a QwenEditSpec share.

    negative_prompt: None = no second pass per step; a blank one counts. steps ≥ 1. strength: 0.0 to 1.0. seed: 0 to
    2³² − 1. lora: name of the profile's LoRA, None = none. loras: those that the request names. step_cache: skip steps
    by First Block Cache; the job then runs unbatched. region_steps: in most steps compute only what the mask asks for,
    without one the result's tokens.
    """

    prompt: str
    negative_prompt: str | None
    steps: int
    strength: float
    seed: int
    lora: str | None = None
    loras: tuple[LoraUse, ...] = ()
    step_cache: bool = False
    region_steps: bool = False
