"""How long a job takes: seconds as a linear function of tokens × passes, learnt while serving.

A job is prepare + steps × step + decode, each with its own line. The model answers three questions: when will this job
be done, can it meet its deadline, and does it pay to run these steps as one batch. Knows no clock and no thread.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field

from services.diffusion.adapter import Plan

DECAY = 0.98
"""Weight of the past at each observation; about fifty observations are remembered."""

OUTLIER = 4.0
"""A duration over this many times the prediction is counted as this many times: a hiccup, not a new law."""

PAYS = 0.9
"""A batch must take at most this share of the time that its members take one after another."""


@dataclass
class Line:
    """seconds ≈ fixed + rate × work, fitted by exponentially weighted least squares; never negative."""

    weight: float = 0.0
    sum_x: float = 0.0
    sum_y: float = 0.0
    sum_xx: float = 0.0
    sum_xy: float = 0.0
    count: int = 0

    def observe(self, work: float, seconds: float) -> None:
        """Learn from one measured duration of so much work (work > 0)."""
        expected = self.predict(work)
        if self.count >= 5 and expected:
            seconds = min(seconds, OUTLIER * expected)
        self.weight = DECAY * self.weight + 1.0
        self.sum_x = DECAY * self.sum_x + work
        self.sum_y = DECAY * self.sum_y + seconds
        self.sum_xx = DECAY * self.sum_xx + work * work
        self.sum_xy = DECAY * self.sum_xy + work * seconds
        self.count += 1

    def predict(self, work: float) -> float | None:
        """Expected seconds for so much work; None before the first observation."""
        if not self.count:
            return None
        fixed, rate = self._coefficients()
        return fixed + rate * work

    @property
    def knows_overhead(self) -> bool:
        """Whether different amounts of work were seen, so that the fixed part can be told from the rate."""
        return self._spread() > 1e-3 * self.sum_xx

    def _spread(self) -> float:
        return self.sum_xx - self.sum_x**2 / self.weight if self.weight else 0.0

    def _coefficients(self) -> tuple[float, float]:
        if not self.knows_overhead:
            return 0.0, self.sum_y / self.sum_x
        mean_x, mean_y = self.sum_x / self.weight, self.sum_y / self.weight
        rate = (self.sum_xy - self.sum_x * mean_y) / self._spread()
        fixed = mean_y - rate * mean_x
        if rate < 0:
            return mean_y, 0.0
        if fixed < 0:
            return 0.0, self.sum_xy / self.sum_xx
        return fixed, rate


@dataclass
class CostModel:
    """What one model's work costs on this machine."""

    prepare: Line = field(default_factory=Line)
    step: Line = field(default_factory=Line)
    decode: Line = field(default_factory=Line)
    _measured: dict[tuple[Hashable, int], float] = field(default_factory=dict)

    def seconds_left(self, plan: Plan, *, prepared: bool = False, steps_done: int = 0) -> float | None:
        """Expected seconds of work from here to the end, running alone; None while a part is unknown."""
        prepare = 0.0 if prepared else self.prepare.predict(plan.tokens)
        step = self.step.predict(plan.tokens * plan.passes)
        decode = self.decode.predict(plan.tokens)
        if prepare is None or step is None:
            return None
        return prepare + (plan.steps - steps_done) * step + (decode or 0.0)

    def observe_step(self, plans: list[Plan], seconds: float) -> None:
        """Learn from one forward of these jobs (same batch key) that took so long."""
        self.step.observe(sum(plan.tokens * plan.passes for plan in plans), seconds)
        if plans[0].batch_key is not None:
            slot = (plans[0].batch_key, len(plans))
            self._measured[slot] = 0.7 * self._measured.get(slot, seconds) + 0.3 * seconds
            if len(self._measured) > 512:
                del self._measured[next(iter(self._measured))]

    def step_seconds(self, plan: Plan, size: int) -> float | None:
        """Expected seconds of one forward of `size` jobs like this: as measured, else as the line says."""
        measured = self._measured.get((plan.batch_key, size))
        return self.step.predict(size * plan.tokens * plan.passes) if measured is None else measured

    def batch_pays(self, plan: Plan, size: int) -> bool:
        """Whether `size` jobs like this are worth running as one forward.

        What was measured for this key and size decides; else the line's prediction. While the line has seen a single
        amount of work it cannot tell, and a batch of two is tried once to find out.
        """
        if plan.batch_key is None or not self.step.count:
            return False
        if (plan.batch_key, size) not in self._measured and not self.step.knows_overhead:
            return size == 2
        alone, together = self.step_seconds(plan, 1), self.step_seconds(plan, size)
        return alone is not None and together is not None and together <= PAYS * size * alone

    def forbid_batch(self, plan: Plan, size: int) -> None:
        """Remember that a batch of this size failed (out of memory): it never pays again."""
        self._measured[plan.batch_key, size] = float("inf")
