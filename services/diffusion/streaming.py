"""Engine events and estimates as messages, for FillService and QwenEditService."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from imgedit.errors import InternalError
from imgedit.inference.v1 import steps_pb2
from imgedit.v1 import progress_pb2
from services.diffusion.engine.events import Event, Finished, Preview, Progress, Queued
from services.diffusion.engine.job_order import Outlook

EventT = TypeVar("EventT", covariant=True)
Output = NDArray[np.uint8]


class MakeEvent(Protocol[EventT]):
    """FillEvent or QwenEditEvent: the same shape with different results."""

    def __call__(
        self,
        *,
        queued: progress_pb2.Queued | None = None,
        progress: steps_pb2.Progress | None = None,
        preview: progress_pb2.Preview | None = None,
    ) -> EventT:
        """Create the message with this one field set."""


async def to_messages(
    events: AsyncIterator[Event[Output]],
    make_event: MakeEvent[EventT],
    make_result: Callable[[Finished[Output]], EventT],
) -> AsyncIterator[EventT]:
    """The engine's events as messages, in order; the last is the result."""
    async for event in events:
        match event:
            case Queued(position, eta):
                yield make_event(queued=progress_pb2.Queued(position=position, eta_seconds=eta))
            case Progress(step, steps, eta):
                yield make_event(progress=steps_pb2.Progress(step=step, steps=steps, eta_seconds=eta))
            case Preview(jpeg):
                yield make_event(preview=progress_pb2.Preview(image=jpeg))
            case Finished():
                yield make_result(event)
                return
    raise InternalError("the engine ended without a result")


def timings(finished: Finished[Output]) -> list[progress_pb2.Timing]:
    """The seconds of the engine's phases."""
    return [progress_pb2.Timing(name=name, seconds=seconds) for name, seconds in finished.timings.items()]


def estimate(outlook: Outlook) -> steps_pb2.JobEstimate:
    """The expected course of a job as a message."""
    return steps_pb2.JobEstimate(
        position=outlook.position, queue_seconds=outlook.queue_seconds, work_seconds=outlook.work_seconds
    )
