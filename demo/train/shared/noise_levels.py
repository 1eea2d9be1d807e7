"""The noise levels that flow matching is taught at, for both painting models.

Knows no network and no examples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.diffusion.networks import flow

TRACE_SHARE = 0.4
TRACE_FROM = 0.75
HIGH_SHARE = 0.35
HIGH_FROM = 0.88
"""A part of the noise levels is so high that little but the request says what there is to be painted."""


def noise_level(config: Mapping[str, Any], count: int, length: int, generator: torch.Generator) -> Tensor:
    """(count,) in (0, 1): logit-normal, shifted like the scheduler's, some high."""
    level = torch.randn(count, generator=generator).sigmoid()
    shift = float(np.exp(flow.shift_exponent(config, length)))
    level = (shift * level / (1 + (shift - 1) * level)).clamp(1e-3, 1.0)
    high = HIGH_FROM + (1 - HIGH_FROM) * torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < HIGH_SHARE, high, level)


def first_levels(count: int, generator: torch.Generator) -> Tensor:
    """(count,): where an edit begins.

    Most at 1, in pure noise; the others below, as a strength below 1 does.
    """
    start = TRACE_FROM + (1 - TRACE_FROM) * torch.rand(count, generator=generator)
    return torch.where(torch.rand(count, generator=generator) < TRACE_SHARE, start, 1.0)


def with_trace(noise: Tensor, levels: Tensor, start: Tensor, old: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
    """Noise (B, N, D) and levels (B,) of edits that begin at `start`.

    At that level there is the old image, noised; from there the path leads straight to the clean one.
    """
    return noise + ((1 - start) / start)[:, None, None] * (old - clean), torch.minimum(levels, start)
