"""Compare two records: the ratio of each figure, with its interval."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from benchmarks.estimates import quantile_975
from benchmarks.suite.record import Record, figures

Verdict = Literal["better", "worse", "same", "unsure"]

LOWER = ("*seconds*", "*_ms", "*_s", "*ratio*", "*share_of*", "*_bytes", "*_gb", "*peak_mib*", "*steps_wasted*")
"""Paths of figures where less is better."""

HIGHER = ("*speedup", "*per_s", "*.met", "*throughput*", "*deadlines_met*")
"""Paths of figures where more is better; decides before `LOWER`."""

RATIOS = ("*ratio*", "*speedup", "*share_of*", "verdicts*")
"""Paths of figures that are ratios of one run, and so can be compared between machines."""

TOLERANCE = 0.03
"""A smaller change of the median counts as none."""


@dataclass(frozen=True)
class Change:
    """One figure in both records.

    before, after: medians. low, high: the 95% confidence interval of the ratio of the geometric means; None with fewer
    than two repeats on a side.
    """

    benchmark: str
    path: str
    before: float
    after: float
    low: float | None
    high: float | None
    is_higher_better: bool

    @property
    def ratio(self) -> float:
        """After over before."""
        return self.after / self.before

    def verdict(self, tolerance: float = TOLERANCE) -> Verdict:
        """Whether the change is real.

        Then the interval excludes 1, and the medians differ by more than the tolerance.
        """
        if self.low is None or self.high is None:
            return "unsure"
        if self.low <= 1 <= self.high or abs(self.ratio - 1) <= tolerance:
            return "same"
        return "better" if (self.ratio > 1) == self.is_higher_better else "worse"


def changes(before: Record, after: Record, *, ratios_only: bool = False) -> Iterator[Change]:
    """The figures that both records have, where it is known which direction is better.

    A figure that is not positive has no ratio and is left out.
    """
    old, new = _values(before), _values(after)
    for (benchmark, path), was in old.items():
        now = new.get((benchmark, path), [])
        if not now or not _is_judged(path) or (ratios_only and not _is_any(path, RATIOS)):
            continue
        if min(*was, *now) <= 0:
            continue
        low, high = interval(was, now) or (None, None)
        yield Change(benchmark, path, statistics.median(was), statistics.median(now), low, high, _is_any(path, HIGHER))


def interval(before: Sequence[float], after: Sequence[float]) -> tuple[float, float] | None:
    """Compute the 95% confidence interval of the ratio of two geometric means.

    Welch's unequal variances over logarithms. None with fewer than two values on a side.
    """
    if min(len(before), len(after)) < 2:
        return None
    old, new = [math.log(value) for value in before], [math.log(value) for value in after]
    parts = [statistics.variance(values) / len(values) for values in (old, new)]
    difference, error = statistics.fmean(new) - statistics.fmean(old), math.sqrt(sum(parts))
    if error == 0:
        return math.exp(difference), math.exp(difference)
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (old, new), strict=True))
    margin = quantile_975(freedom) * error
    return math.exp(difference - margin), math.exp(difference + margin)


def _values(record: Record) -> dict[tuple[str, str], list[float]]:
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for measured in record.measured:
        for result in measured.results:
            for path, value in figures(result):
                found[measured.benchmark, path].append(value)
    return found


def _is_judged(path: str) -> bool:
    return _is_any(path, HIGHER) or _is_any(path, LOWER)


def _is_any(path: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(path, pattern.replace("[", "[[]")) for pattern in patterns)
