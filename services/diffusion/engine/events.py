"""Events of a job for its caller, in order.

Queued …, Progress …, Preview …, Finished.

Plain values, safe to pass between threads.
"""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

OutputT = TypeVar("OutputT")


@dataclass(frozen=True)
class Queued:
    """The job waits.

    Sent immediately on entry, and whenever the position changes. position: number of jobs ahead, 0 or more.
    eta_seconds: until this job is finished; None before the cost model has data.
    """

    position: int
    eta_seconds: float | None


@dataclass(frozen=True)
class Progress:
    """Denoise step `step` of `steps` is done (1 ≤ step ≤ steps).

    eta_seconds: until finished; None if unknown.
    """

    step: int
    steps: int
    eta_seconds: float | None


@dataclass(frozen=True)
class Preview:
    """A rough preview: a JPEG file of at most 256 pixels per side."""

    jpeg: bytes


@dataclass(frozen=True)
class Finished(Generic[OutputT]):
    """The job's result, always the last event.

    timings: seconds spent in "queue" (from entry to the first work), "prepare", "denoise" and "decode". In a batch a
    step's whole duration counts for each member. steps_run: denoise steps that were run. full_steps: those of them that
    computed every token.
    """

    output: OutputT
    timings: dict[str, float] = field(default_factory=dict)
    steps_run: int = 0
    full_steps: int = 0


Event = Queued | Progress | Preview | Finished[OutputT]
