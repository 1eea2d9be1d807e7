"""True classifier-free guidance is two passes per step, away from the negative prompt and towards the positive one.

Small shapes leave a device half idle, so there the two passes run as one forward of twice the batch. Which it is is a
matter of the job's size and the service's settings alone, never of measured times: the same request always takes the
same arithmetic. Knows no model.
"""

from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

import torch

CfgBatch = Literal["auto", "on", "off"]

SMALL_TOKENS = 2048
"""Below this sequence length `auto` joins the passes. Two at once take about 0.55 of the time of two in turn at 512 px
on a GPU and at 64 tokens on a processor, and 0.95 to 1 of it from 1,024 px and 1,024 tokens on."""

StateT = TypeVar("StateT")
PromptT = TypeVar("PromptT")


def joins_passes(cfg_batch: CfgBatch, tokens: int, *, passes: int, step_cache: bool) -> bool:
    """Whether a job's two passes run as one forward. A step cache remembers each pass for itself, so it never does."""
    if passes < 2 or step_cache:
        return False
    return cfg_batch == "on" or (cfg_batch == "auto" and tokens < SMALL_TOKENS)


def velocities(
    run: Callable[[Sequence[StateT], Sequence[PromptT], str], torch.Tensor],
    states: Sequence[StateT],
    positives: Sequence[PromptT],
    negatives: Sequence[PromptT],
    *,
    joined: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the model predicts under the positive and under the negative prompts, (B, N, C) each.

    run: one forward over states under as many prompts; its last argument is the sign, "positive" or "negative", which
    names the memory of a step cache.
    """
    if not joined:
        return run(states, positives, "positive"), run(states, negatives, "negative")
    both = run([*states, *states], [*positives, *negatives], "both")
    return both[: len(states)], both[len(states) :]


def extrapolated(cond: torch.Tensor, uncond: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The guided velocity, uncond + scale · (cond - uncond), of velocities (B, N, C) by scales (B, 1, 1) float32.

    In half precision only the product is rounded, as with a plain number: the scale itself is exact.
    """
    return uncond + (scale * (cond - uncond)).to(uncond.dtype)
