"""One request on its way through the engine, and the order in which requests go.

Knows how to reach its caller's event loop; knows neither model nor schedule.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.diffusion.engine.adapter import Workload
from services.diffusion.engine.events import Event
from services.diffusion.engine.job_spans import JobSpans

SpecT = TypeVar("SpecT")
StateT = TypeVar("StateT")

PATIENCE = 4.0
"""A job without a deadline is treated as due after this many times its expected duration (see `due_time`)."""

UNKNOWN_SECONDS = 30.0
"""Expected duration of a job while the cost model knows nothing."""


def due_time(entered: float, deadline: float | None, expected_seconds: float | None) -> float:
    """When a job is due, on the monotonic clock: its deadline, or, without one, a multiple of its duration from entry.

    So a short job overtakes a long one, and none starves: the time is fixed at entry, and later jobs are due later.
    """
    if deadline is not None:
        return deadline
    return entered + PATIENCE * (UNKNOWN_SECONDS if expected_seconds is None else expected_seconds)


@dataclass(eq=False)
class Job(Generic[SpecT, StateT]):
    """A request, what has been done for it, and the way back to its caller.

    Times are seconds on the monotonic clock. `cancelled` is set by the caller's thread; all else is the worker's.
    `alone`: a batch with this job has failed, so it runs by itself from then on. `retried`: it has run out of memory
    once. `spans`: None = the call is not
    traced.
    """

    spec: SpecT
    workload: Workload
    number: int
    entered: float
    deadline: float | None
    due: float
    preview_every: int
    loop: asyncio.AbstractEventLoop
    events: "asyncio.Queue[Event[Any] | Exception]" = field(default_factory=asyncio.Queue)
    state: StateT | None = None
    steps_done: int = 0
    cancelled: bool = False
    alone: bool = False
    retried: bool = False
    spans: JobSpans | None = None
    position: int | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def rank(self) -> tuple[float, int]:
        """Jobs run in this order: earliest due first, then first come first served."""
        return self.due, self.number

    @property
    def steps_left(self) -> int:
        """Denoise steps still to run."""
        return self.workload.steps - self.steps_done

    @property
    def next_is_full(self) -> bool:
        """Whether the next step computes every token."""
        return self.workload.is_full(self.steps_done)

    def can_join(self, other: "Job[SpecT, StateT]") -> bool:
        """Whether this job's steps may run in one forward with the other's."""
        key = self.workload.batch_key
        return key is not None and key == other.workload.batch_key and not (self.alone or other.alone)

    def can_step_with(self, other: "Job[SpecT, StateT]") -> bool:
        """Whether the next step of both, neither of which is done, may be one forward."""
        return self.can_join(other) and self.next_is_full == other.next_is_full

    def time_left(self) -> float:
        """Seconds until the deadline, negative when it has passed; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def begin(self, phase: str) -> None:
        """A phase begins, or goes on."""
        if self.spans is not None:
            self.spans.begin(phase)

    def spend(self, phase: str, seconds: float, *, jobs: int = 1) -> None:
        """Add to the time that a phase has taken, for so many jobs at once."""
        self.timings[phase] = self.timings.get(phase, 0.0) + seconds
        if self.spans is not None:
            self.spans.work_done(seconds, jobs)

    def post(self, message: Event[Any] | Exception) -> None:
        """Hand an event, or the error that ends the job, to the caller's loop from any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.events.put_nowait, message)
