"""Which steps of a job compute every token, and how much work and memory its other steps, the region steps, take.

Imports no torch: an adapter says which tokens are the region's, and keeps what a region step needs of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 1e-6
"""Of noise levels, which come from float32."""


@dataclass(frozen=True)
class RegionSteps:
    """The region steps of one job.

    full: for each step that runs, whether it computes every token; the first and the last do. tokens: the work of a
    region step, as the number of tokens whose full step takes as long. kept_bytes: what is kept from a full step for
    the region steps behind it, of all passes.
    """

    full: tuple[bool, ...]
    tokens: int
    kept_bytes: int


@dataclass(frozen=True)
class RegionSchedule:
    """When every token is computed, and which tokens a region step computes.

    A step is full again once the picture's share of the latents, 1 less the noise level, is `growth` times what it was
    at the last full step, and `start` more. So full steps are dense where the picture takes shape and sparse behind;
    strength, the number of steps and the shift of the noise levels need no rules of their own. rim: how many tokens
    around the mask are computed as well.
    """

    growth: float
    start: float
    rim: int

    def full_steps(self, levels: Sequence[float]) -> tuple[bool, ...]:
        """For each step whether it is full. levels: the noise level of each step, and that behind the last one."""
        steps = len(levels) - 1
        full: list[bool] = []
        due = 0.0
        for step in range(steps):
            share = 1.0 - levels[step]
            full.append(step in (0, steps - 1) or share >= due - TOLERANCE)
            if full[-1]:
                due = self.growth * share + self.start
        return tuple(full)


def equal_work(computed: int, keys: int, width: int) -> int:
    """How many tokens make a full step that takes as long as one of so many tokens over so many keys.

    A token costs about 24 width² operations in the matrices of a block, and 4 width more for each key that it sees.
    """
    return round(computed * (6 * width + keys) / (6 * width + computed))
