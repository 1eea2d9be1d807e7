"""The schedule of full steps and region steps, and the cost of region steps.

Imports no torch: an adapter chooses the region's tokens, and keeps the other tokens' keys for region steps.
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

    spacing: rise of the logarithm of the signal-to-noise ratio, (1 - level) / level, between full steps. Full steps are
    therefore dense while a picture takes shape, and again while its details do. Strength, the number of steps and the
    shift of the noise levels need no separate rules. rim: how many tokens around the mask are also computed.
    """

    spacing: float
    rim: int

    def full_steps(self, levels: Sequence[float]) -> tuple[bool, ...]:
        """Whether each step is full.

        levels: the noise level of each step, and the final level.
        """
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
    """The logarithm of the signal-to-noise ratio, with extreme levels clamped."""
    level = min(max(level, EXTREME), 1.0 - EXTREME)
    return math.log((1.0 - level) / level)


def equal_work(computed: int, keys: int, width: int) -> int:
    """Tokens of a full step that takes as long as `computed` tokens over `keys` keys.

    A token costs about 24 width² operations in the matrices of a block, and 4 width more for each key that it sees.
    """
    return round(computed * (6 * width + keys) / (6 * width + computed))
