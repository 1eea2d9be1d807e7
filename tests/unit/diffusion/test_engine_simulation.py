"""The engine's decisions over hundreds of jobs in simulated time, against a lock.

Schedule and cost model are real; the clock is a number, and every duration has 12% of noise. The very first step is
four times as slow, as first steps are.
"""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.diffusion.engine import job as jobs
from services.diffusion.engine.adapter import Plan
from services.diffusion.engine.cost import CostModel
from services.diffusion.engine.job import Job
from services.diffusion.engine.schedule import Schedule

pytestmark = pytest.mark.slow

STEP = {256: 0.10, 512: 0.18, 768: 0.45}
SHARES = (0.5, 0.35, 0.15)
PREPARE, DECODE = 0.3, 1.0
"""Of a step."""


@dataclass(frozen=True)
class Arrival:
    at: float
    size: int
    steps: int
    solo: float
    patience: float


def arrivals(load: float, seed: int, seconds: float = 300.0) -> list[Arrival]:
    """Poisson arrivals of three sizes, with 1.5 or 3 times their solo time to wait."""
    noise = np.random.default_rng(seed)
    mean = sum(share * STEP[size] * (6 + PREPARE + DECODE) for size, share in zip(STEP, SHARES, strict=True))
    found: list[Arrival] = []
    at = 0.0
    while (at := at + noise.exponential(mean / load)) < seconds:
        size, steps = int(noise.choice(list(STEP), p=SHARES)), int(noise.choice((4, 8)))
        solo = STEP[size] * (steps + PREPARE + DECODE)
        found.append(Arrival(at, size, steps, solo, float(noise.choice((1.5, 3.0))) * solo))
    return found


def met_behind_a_lock(requests: list[Arrival]) -> int:
    """How many are in time when they run one after another, first come first served."""
    free, met = 0.0, 0
    for request in requests:
        free = max(free, request.at) + request.solo
        met += free - request.at <= request.patience
    return met


class Simulation:
    """One engine without its thread.

    The same decisions in the same order, in simulated time.
    """

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.met = self.wasted = self.refused = 0
        self._noise = np.random.default_rng(seed + 100)
        self._cost = CostModel()
        self._schedule = Schedule(self._cost, max_batch=1)
        self._jobs: list[Job[Any, Any]] = []
        monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: self.now))
        for size in STEP:
            self._run(self._job(Arrival(0.0, size, 4, 0.0, 1e9), 0), slow_start=size == 256)

    def serve(self, requests: list[Arrival]) -> None:
        waiting = list(enumerate(requests))
        self.now = 0.0
        while waiting or self._jobs:
            if not self._jobs:
                self.now = max(self.now, waiting[0][1].at)
            while waiting and waiting[0][1].at <= self.now:
                number, request = waiting.pop(0)
                self._admit(self._job(request, number))
            self._end_the_dead()
            if self._jobs:
                self._quantum(next(iter(self._schedule.forecast(self._jobs))))

    def _job(self, request: Arrival, number: int) -> Job[Any, Any]:
        tokens = 512 + request.size**2 // 256
        deadline = request.at + request.patience
        plan = Plan(steps=request.steps, tokens=tokens, passes=1, nbytes=1, batch_key=str(request.size))
        return Job(request.size, plan, number, request.at, deadline, deadline, 0, None)  # type: ignore[arg-type]

    def _admit(self, job: Job[Any, Any]) -> None:
        if self._schedule.least(job, self._jobs) > job.time_left():
            self.refused += 1
        else:
            self._jobs.append(job)

    def _end_the_dead(self) -> None:
        for job in list(self._jobs):
            if job.time_left() <= 0 or self._schedule.is_hopeless(job):
                self._jobs.remove(job)
                self.wasted += job.steps_done

    def _run(self, job: Job[Any, Any], *, slow_start: bool) -> None:
        self._jobs = [job]
        while self._jobs:
            self._quantum(job, slow=4.0 if slow_start and job.state and not job.steps_done else 1.0)
        self.met = 0

    def _quantum(self, job: Job[Any, Any], slow: float = 1.0) -> None:
        if job.state is None:
            job.state = "prepared"
            self._cost.observe_prepare(job.plan, self._passed(PREPARE * STEP[job.spec]))
        elif job.steps_left:
            job.steps_done += 1
            self._cost.observe_step([job.plan], self._passed(slow * STEP[job.spec]))
        else:
            self._cost.observe_decode(job.plan, self._passed(DECODE * STEP[job.spec]))
            self._jobs.remove(job)
            self.met += job.time_left() >= 0

    def _passed(self, usual: float) -> float:
        seconds = usual * max(0.6, float(self._noise.normal(1, 0.12)))
        self.now += seconds
        return seconds


@pytest.mark.parametrize(("load", "ratio"), [(0.3, 1.0), (0.5, 1.1), (0.8, 1.3), (1.1, 3.0)])
def test_more_deadlines_are_met_than_behind_a_lock_at_every_load(
    load: float, ratio: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = behind_a_lock = requests = wasted = 0
    for seed in range(4):
        incoming = arrivals(load, seed)
        simulation = Simulation(seed, monkeypatch)
        simulation.serve(incoming)
        ours += simulation.met
        wasted += simulation.wasted
        behind_a_lock += met_behind_a_lock(incoming)
        requests += len(incoming)
    assert ours >= ratio * behind_a_lock
    assert ours >= 0.75 * requests
    assert wasted <= 0.5 * requests  # steps; a request has six of them on average


def test_hardly_anyone_is_refused_at_half_load(monkeypatch: pytest.MonkeyPatch) -> None:
    simulation = Simulation(0, monkeypatch)
    incoming = arrivals(0.5, 0)
    simulation.serve(incoming)
    assert simulation.refused <= 0.02 * len(incoming)
