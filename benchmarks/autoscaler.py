"""How many replicas KEDA asks for, and when.

The rules of a ScaledObject in simulated time.

KEDA hands the query's value to Kubernetes' HorizontalPodAutoscaler, whose documented algorithm this is: ceil(value /
threshold), nothing within 10% of the present, the highest wish of the stabilisation window when going down, and so many
pods per period either way. The rules are read from `deploy/k8s/components/keda`; the query is taken as what all of them
ask: jobs that run or wait, averaged over the last minutes.
"""

import math
import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from benchmarks.fleet import Fleet
from benchmarks.replica import Waits

FOLDER = Path(__file__).parents[1] / "deploy" / "k8s" / "components" / "keda"

SCRAPE_SECONDS = 15.0
"""Between two samples of a metric: `interval` of the ServiceMonitors."""

TOLERANCE = 0.1
"""The HorizontalPodAutoscaler's own: smaller differences change nothing."""


@dataclass(frozen=True)
class Pace:
    """At most this many pods within this many seconds, within the window's wishes (s)."""

    pods: int
    period: float
    window: float

    @classmethod
    def of(cls, behavior: dict[str, Any]) -> "Pace":
        """From `scaleUp` or `scaleDown`, which must have one policy that counts pods."""
        (policy,) = behavior["policies"]
        if policy["type"] != "Pods":
            raise ValueError(f"type: {policy['type']!r} is not simulated; only Pods is")
        return cls(policy["value"], policy["periodSeconds"], behavior["stabilizationWindowSeconds"])


@dataclass(frozen=True)
class Rules:
    """The settings of a ScaledObject.

    polling, average: seconds; threshold: jobs per replica.
    """

    minimum: int
    maximum: int
    polling: float
    threshold: float
    average: float
    up: Pace
    down: Pace

    @classmethod
    def read(cls, file: Path) -> "Rules":
        """From its YAML file.

        Raises `KeyError` or `ValueError` where it is not of the kind that ours are of.
        """
        spec = yaml.safe_load(file.read_text(encoding="utf-8"))["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        (trigger,) = spec["triggers"]
        window = re.search(r"avg_over_time\(imgedit_queue_depth\{[^}]*\}\[(\d+)m\]\)", trigger["metadata"]["query"])
        if window is None:
            raise ValueError(f"{file}: the query is not an average of imgedit_queue_depth over minutes")
        return cls(
            minimum=spec["minReplicaCount"],
            maximum=spec["maxReplicaCount"],
            polling=spec["pollingInterval"],
            threshold=float(trigger["metadata"]["threshold"]),
            average=60.0 * int(window[1]),
            up=Pace.of(behavior["scaleUp"]),
            down=Pace.of(behavior["scaleDown"]),
        )


@dataclass
class Autoscaler:
    """Adds replicas to a fleet and removes them.

    sizes: (time, replicas) after each change.
    """

    rules: Rules
    fleet: Fleet
    sizes: list[tuple[float, int]] = field(default_factory=list)
    _samples: deque[tuple[float, int]] = field(default_factory=deque)
    _wishes: deque[tuple[float, int]] = field(default_factory=deque)

    def start(self) -> None:
        """Begin with the fewest replicas, all loaded, and watch from now on."""
        for _ in range(self.rules.minimum):
            self.fleet.add(loaded=True)
        self.sizes.append((self.fleet.env.now, self.rules.minimum))
        self.fleet.env.process(self._scrape())
        self.fleet.env.process(self._poll())

    def _scrape(self) -> Waits:
        while True:
            yield self.fleet.env.timeout(SCRAPE_SECONDS)
            self._samples.append((self.fleet.env.now, self.fleet.depth))
            forget(self._samples, self.fleet.env.now - self.rules.average)

    def _poll(self) -> Waits:
        while True:
            yield self.fleet.env.timeout(self.rules.polling)
            if self._samples:
                self._resize(sum(depth for _, depth in self._samples) / len(self._samples))

    def _resize(self, jobs: float) -> None:
        """One look of the HorizontalPodAutoscaler at the query's value."""
        now, present = self.fleet.env.now, len(self.fleet.replicas)
        wished = present
        if abs(jobs / (self.rules.threshold * present) - 1) > TOLERANCE:
            wished = math.ceil(jobs / self.rules.threshold)
        self._wishes.append((now, wished))
        forget(self._wishes, now - max(self.rules.up.window, self.rules.down.window))
        lowest, highest = (
            min(self._wished_within(self.rules.up.window)),
            max(self._wished_within(self.rules.down.window)),
        )
        if lowest > present:
            most = self._size_at(now - self.rules.up.period) + self.rules.up.pods
            self._set(max(present, min(lowest, most, self.rules.maximum)))
        elif highest < present:
            least = self._size_at(now - self.rules.down.period) - self.rules.down.pods
            self._set(min(present, max(highest, least, self.rules.minimum)))

    def _wished_within(self, window: float) -> list[int]:
        return [wish for at, wish in self._wishes if at >= self.fleet.env.now - window]

    def _size_at(self, time: float) -> int:
        return next((size for at, size in reversed(self.sizes) if at <= time), self.sizes[0][1])

    def _set(self, size: int) -> None:
        present = len(self.fleet.replicas)
        for _ in range(size - present):
            self.fleet.add()
        for _ in range(present - size):
            self.fleet.remove()
        if size != present:
            self.sizes.append((self.fleet.env.now, size))


def forget(entries: deque[tuple[float, int]], before: float) -> None:
    """Drop what is older than `before`."""
    while entries and entries[0][0] < before:
        entries.popleft()
