"""A request inside the engine, and the order of requests."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.diffusion.engine.adapter import Plan
from services.diffusion.engine.events import Event
from services.diffusion.engine.job_spans import JobSpans

SpecT = TypeVar("SpecT")
StateT = TypeVar("StateT")

PATIENCE = 4.0
"""A job without a deadline is treated as due after this many times its expected duration (see `due_time`)."""

UNKNOWN_SECONDS = 30.0
"""Expected duration of a job before the cost model has data."""


def due_time(entered: float, deadline: float | None, expected_seconds: float | None) -> float:
    """The due time of a job on the monotonic clock.

    Its deadline, else a multiple of its expected duration after entry. So a short job overtakes a long one, and none
    starves: the time is fixed at entry.
    """
    if deadline is not None:
        return deadline
    return entered + PATIENCE * (UNKNOWN_SECONDS if expected_seconds is None else expected_seconds)


@dataclass(eq=False)
class Job(Generic[SpecT, StateT]):
    """A request, its progress, and the connection to its caller.

    Times are seconds on the monotonic clock. The caller's thread sets `cancelled`; everything else belongs to the
    worker. `alone`: a batch with this job has failed, so it runs unbatched. `retried`: it has run out of memory once.
    `spans`: None = the call is not traced.
    """

    spec: SpecT
    plan: Plan
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
        """Earliest due time first, then arrival order."""
        return self.due, self.number

    @property
    def steps_left(self) -> int:
        """The remaining denoise steps."""
        return self.plan.steps - self.steps_done

    @property
    def next_is_full(self) -> bool:
        """Whether the next step computes every token."""
        return self.plan.is_full(self.steps_done)

    def can_join(self, other: "Job[SpecT, StateT]") -> bool:
        """Whether the two jobs can share a forward."""
        key = self.plan.batch_key
        return key is not None and key == other.plan.batch_key and not (self.alone or other.alone)

    def can_step_with(self, other: "Job[SpecT, StateT]") -> bool:
        """Whether the next step of both, neither of which is done, may be one forward."""
        return self.can_join(other) and self.next_is_full == other.next_is_full

    def time_left(self) -> float:
        """Seconds until the deadline, negative after it; infinite without one."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()

    def begin(self, phase: str) -> None:
        """Begin or resume a phase."""
        if self.spans is not None:
            self.spans.begin(phase)

    def spend(self, phase: str, seconds: float, *, jobs: int = 1) -> None:
        """Add to a phase's duration; `jobs` is the batch size."""
        self.timings[phase] = self.timings.get(phase, 0.0) + seconds
        if self.spans is not None:
            self.spans.work_done(seconds, jobs)

    def post(self, message: Event[Any] | Exception) -> None:
        """Send an event, or the final error, to the caller's loop from any thread."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.events.put_nowait, message)
