"""Samples of each process, and whether they grow."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

from benchmarks.estimates import robust_slope
from benchmarks.process_memory import status

MIB = 2**20


@dataclass(frozen=True)
class Tolerance:
    """Growth over the judged time that counts as none: the larger of both."""

    absolute: float
    share: float

    def of(self, level: float) -> float:
        """At this level of the series."""
        return max(self.absolute, self.share * level)


TOLERANCES: Mapping[str, Tolerance] = {
    "resident": Tolerance(32 * MIB, 0.05),
    "anonymous": Tolerance(32 * MIB, 0.05),
    "threads": Tolerance(2, 0.05),
    "descriptors": Tolerance(4, 0.05),
}


@dataclass(frozen=True)
class Growth:
    """One figure of one process: its median, and the growth over the judged time."""

    process: str
    figure: str
    median: float
    growth: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it grows by less than what is allowed; a process may shrink."""
        return self.growth <= self.allowed


@dataclass
class Samples:
    """Figures of each process with its children, by time."""

    times: dict[str, list[float]] = field(default_factory=dict)
    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def take(self, pids: Mapping[str, int]) -> None:
        """Add one sample of every process that runs."""
        now = time.monotonic()
        for name, pid in pids.items():
            try:
                found = figures(pid)
            except psutil.Error:  # it has just ended
                continue
            self.times.setdefault(name, []).append(now)
            rows = self.values.setdefault(name, {figure: [] for figure in TOLERANCES})
            for figure, value in found.items():
                rows[figure].append(value)

    def growths(self, after: float, without: set[str]) -> list[Growth]:
        """Those of all processes but `without`; samples before `after` are left out.

        Raises ValueError for a process with fewer than two samples.
        """
        found = []
        for name, times in self.times.items():
            if name in without:
                continue
            first = sum(at < after for at in times)
            for figure, values in self.values[name].items():
                found.append(growth(name, figure, times[first:], values[first:]))
        return found


def growth(process: str, figure: str, times: Sequence[float], values: Sequence[float]) -> Growth:
    """The robust slope times the length of the series."""
    median = statistics.median(values) if values else 0.0
    grown = robust_slope(times, values) * (times[-1] - times[0])
    return Growth(process, figure, median, grown, TOLERANCES[figure].of(median))


def figures(pid: int) -> dict[str, float]:
    """Sums over a process and its children. Raises `psutil.Error` where it has ended."""
    process = psutil.Process(pid)
    found = dict.fromkeys(TOLERANCES, 0.0)
    for part in (process, *process.children(recursive=True)):
        sizes = status(part.pid)
        found["resident"] += sizes.get("VmRSS", 0)
        found["anonymous"] += sizes.get("RssAnon", 0)
        try:
            found["threads"] += part.num_threads()
            found["descriptors"] += part.num_fds()
        except psutil.NoSuchProcess:
            if part is process:
                raise
    return found
