"""The tokens that a job's region steps compute, and their state between steps."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from services.diffusion.engine.region_steps import RegionSteps
from services.diffusion.networks.kept_keys import KeptKeys, KeyedForward

BUCKETS = 16
"""Different sizes of a region, as parts of all tokens: regions of similar size are made alike and can share a batch."""

TOKEN_PX = 16
"""A side of the square of pixels that becomes one token."""


def tokens_of(mask: NDArray[np.uint8], rim: int) -> NDArray[np.int64]:
    """The tokens that a mask (H, W) touches, with a rim, as places in raster order.

    rim: how many tokens around them are added. Then the nearest tokens are added until their number is a multiple of
    1/16 of all tokens. H and W are multiples of 16.
    """
    height, width = mask.shape
    squares = (mask > 0).reshape(height // TOKEN_PX, TOKEN_PX, width // TOKEN_PX, TOKEN_PX)
    region: NDArray[np.bool_] = np.asarray(squares.any(axis=(1, 3)))
    for _ in range(rim):
        region = _grown(region)
    step = -(-region.size // BUCKETS)
    wanted = min(region.size, -(-int(region.sum()) // step) * step)
    while (missing := wanted - int(region.sum())) > 0:
        ring = np.flatnonzero(_grown(region) & ~region)
        if len(ring) > missing:  # spread over the ring, so that no side is preferred
            ring = ring[np.arange(missing) * len(ring) // missing]
        region.flat[ring] = True
    return np.flatnonzero(region)


def _grown(region: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The region with its neighbours, eight of each token."""
    rows, columns = region.shape
    padded = np.pad(region, 1)
    shifted = [padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)]
    grown: NDArray[np.bool_] = np.logical_or.reduce(shifted)
    return grown


@dataclass(eq=False)
class TokenRegion:
    """The region-step state of a job. Belongs to the job's state.

    steps: which of its steps are full. computed (m,): the tokens of its picture that a region step computes. passes:
    the kept keys and values by sign. velocity: (1, N, 64) of the last full step; outside the region it is used again.
    done: steps that were run.
    """

    steps: RegionSteps
    computed: torch.Tensor
    passes: dict[str, KeptKeys]
    velocity: torch.Tensor | None = field(default=None)
    done: int = 0

    @classmethod
    def from_steps(cls, steps: RegionSteps, computed: torch.Tensor, tokens: int, *, passes: int) -> "TokenRegion":
        """The state of a new job.

        tokens: the picture tokens that a full step computes, the result's first.
        """
        others = torch.ones(tokens, dtype=torch.bool, device=computed.device)
        others[computed] = False
        kept = others.nonzero()[:, 0]
        return cls(steps, computed, {sign: KeptKeys(computed, kept) for sign in ("positive", "negative")[:passes]})

    @property
    def is_full(self) -> bool:
        """Whether the next step computes every token."""
        return self.steps.full[self.done]

    @property
    def precedes_region_step(self) -> bool:
        """Whether the step behind the next one is a region step."""
        return self.done + 1 < len(self.steps.full) and not self.steps.full[self.done + 1]

    def keys(self, sign: str) -> KeptKeys | None:
        """The kept keys of a pass for the next step; None if that step need not keep any.

        In that case, kept keys are dropped.
        """
        keys = self.passes[sign]
        if not self.is_full or self.precedes_region_step:
            return keys
        keys.blocks.clear()
        return None

    def whole(self, velocity: torch.Tensor) -> torch.Tensor:
        """The next step's velocity of every token, (1, N, 64), from the computed ones."""
        if self.is_full:
            return velocity
        if self.velocity is None:
            raise ValueError("a region step needs a full step before it")
        whole = self.velocity.clone()
        whole[:, self.computed] = velocity
        return whole

    def advance(self, velocity: torch.Tensor) -> None:
        """The next step is done, with this velocity of every token."""
        if self.is_full:
            self.velocity = velocity if self.precedes_region_step else None
        self.done += 1


def keyed_forward(regions: Sequence[TokenRegion | None], sign: str) -> KeyedForward | None:
    """The jobs' forward with kept keys; None if it neither records nor uses them.

    sign: of the pass; "both" = the rows of the positive prompts, then those of the negative ones.
    """
    half = len(regions) // 2
    signs = ["positive"] * half + ["negative"] * half if sign == "both" else [sign] * len(regions)
    rows = [None if region is None else region.keys(name) for region, name in zip(regions, signs, strict=True)]
    if all(row is None for row in rows):
        return None
    return KeyedForward(rows, full=all(region is None or region.is_full for region in regions))
