"""The cost model: expected durations of jobs.

A job is prepare + steps × step + decode; each of the three is learnt by itself while serving, region steps beside full
ones. The model answers three questions: when will this job be done, can it meet its deadline, and does it pay to run
these steps as one batch. Knows no clock and no thread.
"""

import statistics
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from services.diffusion.engine.adapter import Workload

DECAY = 0.98
"""Weight of the past at each observation; about fifty observations are remembered."""

OUTLIER = 4.0
"""A duration over this many times the prediction is counted as this many times: a hiccup, not a new law."""

PAYS = 0.9
"""A batch must take at most this share of the time that its members take one after another."""

WINDOW = 9
"""Durations that are remembered of one shape."""

TRUSTED = 3
"""From this many durations on a shape is judged by them; fewer may all be hiccups."""

DOUBT = 0.5
"""Part of a guess that is taken for certain where a shape was not measured often enough."""

MAX_SHAPES = 512


@dataclass(frozen=True)
class Estimate:
    """Seconds of some work: the expected value and a lower bound."""

    seconds: float
    least: float

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.seconds + other.seconds, self.least + other.least)

    def times(self, count: int) -> "Estimate":
        """The same work `times` times."""
        return Estimate(count * self.seconds, count * self.least)


NOTHING = Estimate(0.0, 0.0)


@dataclass
class Line:
    """seconds ≈ fixed + rate × work, fitted by exponentially weighted least squares.

    Never negative. error: the usual relative error of a prediction, learned before each observation; 0 to 1.
    """

    weight: float = 0.0
    sum_x: float = 0.0
    sum_y: float = 0.0
    sum_xx: float = 0.0
    sum_xy: float = 0.0
    count: int = 0
    error: float = DOUBT

    def observe(self, work: float, seconds: float) -> None:
        """Learn from one measured duration of this much work (work > 0)."""
        expected = self.predict(work)
        if expected:
            self.error += 0.1 * (min(1.0, abs(seconds - expected) / expected) - self.error)
        if self.count >= 5 and expected:
            seconds = min(seconds, OUTLIER * expected)
        self.weight = DECAY * self.weight + 1.0
        self.sum_x = DECAY * self.sum_x + work
        self.sum_y = DECAY * self.sum_y + seconds
        self.sum_xx = DECAY * self.sum_xx + work * work
        self.sum_xy = DECAY * self.sum_xy + work * seconds
        self.count += 1

    def predict(self, work: float) -> float | None:
        """Expected seconds for this much work; None before the first observation."""
        if not self.count:
            return None
        fixed, rate = self._coefficients()
        return fixed + rate * work

    @property
    def knows_overhead(self) -> bool:
        """Whether different amounts of work were seen, to separate fixed part and rate."""
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
class Phase:
    """One kind of work: recent durations per known shape, and a line for other shapes."""

    line: Line = field(default_factory=Line)
    _seen: dict[Hashable, deque[float]] = field(default_factory=dict)

    def observe(self, shape: Hashable, work: float, seconds: float) -> None:
        """Learn from one measured duration."""
        self.line.observe(work, seconds)
        self._seen.setdefault(shape, deque(maxlen=WINDOW)).append(seconds)
        if len(self._seen) > MAX_SHAPES:
            del self._seen[next(iter(self._seen))]

    def count(self, shape: Hashable) -> int:
        """How many durations of this shape are stored."""
        return len(self._seen.get(shape, ()))

    def estimate(self, shape: Hashable, work: float) -> Estimate | None:
        """The median and minimum of this shape's durations, else the line's guess.

        None = unknown.
        """
        seen = self._seen.get(shape)
        if seen:
            return Estimate(statistics.median(seen), min(seen) * (1.0 if len(seen) >= TRUSTED else DOUBT))
        guess = self.line.predict(work)
        return None if guess is None else Estimate(guess, guess * min(DOUBT, 1.0 - self.line.error))


@dataclass
class CostModel:
    """The costs of one model's work on this machine."""

    prepare: Phase = field(default_factory=Phase)
    step: Phase = field(default_factory=Phase)
    decode: Phase = field(default_factory=Phase)
    _forbidden: set[Hashable] = field(default_factory=set)

    def left(self, workload: Workload, *, prepared: bool = False, steps_done: int = 0) -> Estimate | None:
        """The remaining work, unbatched; None while a part is unknown."""
        prepare = NOTHING if prepared else self.prepare.estimate((workload.tokens, workload.passes), workload.tokens)
        decode = self.decode.estimate(workload.tokens, workload.tokens) or NOTHING
        full = workload.full_steps(steps_done, workload.steps)
        steps = NOTHING
        for is_full, count in ((True, full), (False, workload.steps - steps_done - full)):
            step = self._step(workload, 1, full=is_full)
            if step is None:
                return None
            steps += step.times(count)
        return None if prepare is None else prepare + steps + decode

    def observe_prepare(self, workload: Workload, seconds: float) -> None:
        """Learn from one preparation."""
        self.prepare.observe((workload.tokens, workload.passes), workload.tokens, seconds)

    def observe_step(self, workloads: list[Workload], seconds: float, *, full: bool = True) -> None:
        """Learn from one forward of these jobs (same batch key) that took so long."""
        work = sum(workload.step_tokens(full=full) * workload.passes for workload in workloads)
        self.step.observe(slot(workloads[0], len(workloads), full=full), work, seconds)

    def observe_decode(self, workload: Workload, seconds: float) -> None:
        """Learn from one decoding."""
        self.decode.observe(workload.tokens, workload.tokens, seconds)

    def _step(self, workload: Workload, size: int, *, full: bool) -> Estimate | None:
        work = size * workload.step_tokens(full=full) * workload.passes
        return self.step.estimate(slot(workload, size, full=full), work)

    def step_seconds(self, workload: Workload, size: int, *, full: bool = True) -> float | None:
        """Expected seconds of one forward of `size` such jobs.

        full: every token is computed, not only the region's.
        """
        estimate = self._step(workload, size, full=full)
        return None if estimate is None else estimate.seconds

    def batch_pays(self, workload: Workload, size: int, *, full: bool = True) -> bool:
        """Whether `size` jobs like this are worth running as one forward.

        Measurements for this key and size decide; a size under trial is tried until there are enough. Before that the
        line predicts; while it has seen a single amount of work, a batch of two is tried.
        """
        if workload.batch_key is None or not self.step.line.count or slot(workload, size, full=full) in self._forbidden:
            return False
        tries = self.step.count(slot(workload, size, full=full))
        if 0 < tries < TRUSTED:
            return True
        if not tries and not self.step.line.knows_overhead:
            return size == 2
        alone, together = (self.step_seconds(workload, count, full=full) for count in (1, size))
        return alone is not None and together is not None and together <= PAYS * size * alone

    def share(self, workload: Workload, most: int) -> float:
        """A job's step time in its best batch of up to `most`, as a share of a step alone."""
        kinds = (True,) if workload.region is None else (True, False)
        return min(self._share(workload, most, full=full) for full in kinds)

    def _share(self, workload: Workload, most: int, *, full: bool) -> float:
        alone = self.step_seconds(workload, 1, full=full)
        if not alone:
            return 1.0
        sizes = [size for size in range(2, most + 1) if self.batch_pays(workload, size, full=full)]
        together = ((size, self.step_seconds(workload, size, full=full) or 0.0) for size in sizes)
        return min([1.0, *(seconds / (size * alone) for size, seconds in together)])

    def forbid_batch(self, workload: Workload, size: int, *, full: bool = True) -> None:
        """Remember that a batch of this size failed (out of memory): it never pays again."""
        self._forbidden.add(slot(workload, size, full=full))


def slot(workload: Workload, size: int, *, full: bool = True) -> Hashable:
    """A key for forwards of equal cost.

    It is the batch key, or the amount of work for a job that runs alone.
    """
    key: Hashable = (workload.tokens, workload.passes) if workload.batch_key is None else workload.batch_key
    return (key, size) if full or workload.region is None else (key, size, workload.region.tokens)
