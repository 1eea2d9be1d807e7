"""Which steps of a job compute every token, and how much work and memory its other steps, the region steps, take.

Imports no torch: an adapter says which tokens are the region's, and keeps what a region step needs of the others.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

TOLERANCE = 1e-6
"""Of noise levels, which come from float32."""

EXTREME = 0.02


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

    spacing: a step is full again once the logarithm of the signal-to-noise ratio, (1 - level) / level, has risen by so
    much. So full steps are dense where a picture takes shape and again where its details do, and strength, the number
    of steps and the shift of the noise levels need no rules of their own. rim: how many tokens around the mask are
    computed as well.
    """

    spacing: float
    rim: int

    def full_steps(self, levels: Sequence[float]) -> tuple[bool, ...]:
        """For each step whether it is full. levels: the noise level of each step, and that behind the last one."""
        steps = len(levels) - 1
        full: list[bool] = []
        due = -math.inf
        for step in range(steps):
            ratio = _log_ratio(levels[step])
            full.append(step == steps - 1 or ratio >= due - TOLERANCE)
            if full[-1]:
                due = ratio + self.spacing
        return tuple(full)


def _log_ratio(level: float) -> float:
    """Of signal to noise; levels so near to 1 or 0 that hardly anything changes are taken for less so."""
    level = min(max(level, EXTREME), 1.0 - EXTREME)
    return math.log((1.0 - level) / level)


def equal_work(computed: int, keys: int, width: int) -> int:
    """How many tokens make a full step that takes as long as one of so many tokens over so many keys.

    A token costs about 24 width² operations in the matrices of a block, and 4 width more for each key that it sees.
    """
    return round(computed * (6 * width + keys) / (6 * width + computed))
