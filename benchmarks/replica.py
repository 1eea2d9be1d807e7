"""One replica of a diffusion service in simulated time: device, queue, decisions.

`EngineReplica` decides as `services.diffusion.engine.engine` does, with its real `Schedule`, `CostModel` and `Job`;
`LockReplica` is a simple server, one edit at a time in arrival order. Durations of work items are drawn from given
ones.
"""

import random
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import simpy

from services.diffusion.engine.adapter import Plan
from services.diffusion.engine.cost import CostModel
from services.diffusion.engine.job import Job, due_time
from services.diffusion.engine.schedule import Schedule

MAX_WAITING = 16
"""Jobs at one replica before it refuses: the default of the setting `max_waiting`."""

MAX_BATCH = 4
Waits = Generator[simpy.Event, Any, Any]
"""A process of the simulation: it yields what it waits for."""


@dataclass(frozen=True)
class Durations:
    """Seconds on the device of one edit that runs alone; `step` is one denoise step."""

    prepare: float
    step: float
    decode: float

    def solo(self, steps: int) -> float:
        """The whole edit."""
        return self.prepare + steps * self.step + self.decode


@dataclass(frozen=True)
class Edit:
    """One request: arrival in seconds, steps, tokens per pass, deadline, duration."""

    at: float
    steps: int
    tokens: int
    patience: float
    durations: Durations


@dataclass(frozen=True)
class Outcome:
    """The end of an edit: "finished", "refused" up front, or "late" (cancelled).

    latency: seconds until then.
    """

    edit: Edit
    end: str
    latency: float

    @property
    def met(self) -> bool:
        """Whether a picture came in time."""
        return self.end == "finished" and self.latency <= self.edit.patience


@dataclass(frozen=True)
class Machine:
    """Parameters of all replicas.

    overhead: seconds of a call outside the device. noise: relative standard deviation of each work item. batch_share:
    the additional time of each further job in a batch, relative to a step alone; 1 = a batch saves nothing.
    """

    overhead: float = 0.0
    noise: float = 0.05
    batch_share: float = 1.0
    max_batch: int = MAX_BATCH


@dataclass(eq=False, kw_only=True)
class SimulatedJob(Job[Edit, str]):
    """A job on the simulation's clock. ended: told the outcome."""

    env: simpy.Environment
    ended: simpy.Event

    def time_left(self) -> float:
        """As `Job.time_left`."""
        return float("inf") if self.deadline is None else self.deadline - self.env.now


class Replica:
    """One replica: its device, and the calls that the sidecar has with it."""

    def __init__(self, env: simpy.Environment, machine: Machine, dice: random.Random) -> None:
        self.started, self.ended = env.now, float("inf")
        self.draining = False
        self.calls = 0
        self.jobs: list[SimulatedJob] = []
        self.ready = False
        self._env, self._machine, self._dice = env, machine, dice
        self._changed = env.event()
        self._count = 0
        env.process(self._work())

    @property
    def depth(self) -> int:
        """Jobs that run or wait: the metric `imgedit_queue_depth`."""
        return len(self.jobs)

    def take(self, edit: Edit) -> simpy.Event:
        """Enter an edit; the event's value is how it ends."""
        job = self._job(edit)
        if self.refuses(job):
            return job.ended.succeed("refused")
        self.jobs.append(job)
        if not self._changed.triggered:
            self._changed.succeed()
        return job.ended

    def refuses(self, job: SimulatedJob) -> bool:
        """Whether this job is turned away at once."""
        raise NotImplementedError

    def turn(self) -> Waits:
        """One decision and what follows from it; there are jobs."""
        raise NotImplementedError

    def _job(self, edit: Edit) -> SimulatedJob:
        key = (edit.tokens, 1)
        plan = Plan(steps=edit.steps, tokens=edit.tokens, passes=1, nbytes=1, batch_key=key)
        deadline = edit.at + edit.patience
        self._count += 1
        return SimulatedJob(
            spec=edit,
            plan=plan,
            number=self._count,
            entered=self._env.now,
            deadline=deadline,
            due=due_time(self._env.now, deadline, None),
            preview_every=0,
            loop=None,  # type: ignore[arg-type]  # no caller gets events
            env=self._env,
            ended=self._env.event(),
        )

    def _work(self) -> Waits:
        while True:
            if not self.jobs:
                self._changed = self._env.event()
                yield self._changed
            yield from self.turn()

    def _end(self, job: SimulatedJob, end: str) -> None:
        self.jobs.remove(job)
        job.ended.succeed(end)

    def _pass(self, usual: float) -> Any:
        """The device works for about so long; gives the seconds."""
        seconds = usual * max(0.2, self._dice.gauss(1.0, self._machine.noise))
        return self._env.timeout(seconds, seconds)


class EngineReplica(Replica):
    """`Engine`'s decisions in the same order, with the real schedule and cost model."""

    def __init__(self, env: simpy.Environment, machine: Machine, dice: random.Random) -> None:
        self._cost = CostModel()
        self._schedule = Schedule(self._cost, machine.max_batch)
        super().__init__(env, machine, dice)

    def refuses(self, job: SimulatedJob) -> bool:
        """As `Engine._enter`."""
        if len(self.jobs) >= MAX_WAITING:
            return True
        return job.time_left() <= 0 or self._schedule.least(job, self.jobs) > job.time_left()

    def turn(self) -> Waits:
        """As `Engine._turn`."""
        for job in list(self.jobs):
            if job.time_left() <= 0 or self._schedule.is_hopeless(job):
                self._end(job, "late")
        if not self.jobs:
            return
        # The forecast of a single job is that job; to ask for it each step would be half of the simulation's time.
        ranked: list[Any] = list(self.jobs if len(self.jobs) == 1 else self._schedule.forecast(self.jobs))
        first = ranked[0]
        if first.state is None:
            yield from self._prepare(first)
        elif not first.steps_left:
            yield from self._decode(first)
        elif recruit := self._schedule.recruit(first, ranked):
            yield from self._prepare(recruit)
        else:
            yield from self._step(self._schedule.batch(first, ranked))

    def _prepare(self, job: Any) -> Waits:
        seconds = yield self._pass(job.spec.durations.prepare)
        job.state = "prepared"
        self._cost.observe_prepare(job.plan, seconds)

    def _step(self, batch: list[Any]) -> Waits:
        alone = max(job.spec.durations.step for job in batch)
        seconds = yield self._pass(alone * (1 + (len(batch) - 1) * self._machine.batch_share))
        for job in batch:
            job.steps_done += 1
        self._cost.observe_step([job.plan for job in batch], seconds)

    def _decode(self, job: Any) -> Waits:
        seconds = yield self._pass(job.spec.durations.decode)
        self._cost.observe_decode(job.plan, seconds)
        self._end(job, "finished")


class LockReplica(Replica):
    """An ordinary server: a pipeline behind a lock.

    A caller whose deadline passes in the queue leaves it.
    """

    def refuses(self, job: SimulatedJob) -> bool:  # noqa: ARG002  # as Replica
        """It takes everything."""
        return False

    def take(self, edit: Edit) -> simpy.Event:
        """Enter an edit."""
        ended = super().take(edit)
        self._env.process(self._leave(self.jobs[-1]))
        return ended

    def turn(self) -> Waits:
        """The whole of the first edit."""
        job = self.jobs[0]
        job.state = "running"
        yield self._pass(job.spec.durations.solo(job.spec.steps))
        self._end(job, "finished")

    def _leave(self, job: SimulatedJob) -> Waits:
        yield self._env.timeout(max(0.0, job.time_left()))
        if job in self.jobs and job.state is None:
            self._end(job, "late")
