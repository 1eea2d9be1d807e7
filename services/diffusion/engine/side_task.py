"""Side tasks: short urgent work on the device between two work items of jobs.

A side task checks `should_stop` between its own small steps and returns when it is true; its result is then dropped.
"""

import itertools
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from imgedit.errors import DeadlineExceeded, QueueFull
from services.diffusion.engine import metrics

ResultT = TypeVar("ResultT")

Work = Callable[[Callable[[], bool]], ResultT]
"""A side task's function on the device's thread; its argument is `should_stop`."""


@dataclass(eq=False)
class SideTask:
    """One side task and the connection to its caller.

    Times are seconds on the monotonic clock; deadline: None = none. The caller's thread sets `left` when it stops
    waiting; everything else belongs to the worker.
    """

    work: Work[Any]
    deadline: float | None
    number: int
    entered: float = field(default_factory=time.monotonic)
    began: float = 0.0
    answer: "Future[Any]" = field(default_factory=Future)
    left: bool = False
    stopped: bool = False

    @property
    def rank(self) -> tuple[float, int]:
        """Earliest deadline first, then arrival order."""
        return (float("inf") if self.deadline is None else self.deadline), self.number

    def should_stop(self) -> bool:
        """Whether the result is no longer needed.

        The caller has left or the deadline has passed.
        """
        late = self.deadline is not None and time.monotonic() >= self.deadline
        self.stopped = self.stopped or self.left or late
        return self.stopped

    def run(self, describe: Callable[[Exception], tuple[Exception, str]]) -> str:
        """Run the work and send the result; return the outcome to count.

        The outcome is finished, cancelled, deadline, or `describe`'s. describe: turns an exception into the caller's
        error and its outcome.
        """
        self.began = time.monotonic()
        if not self.answer.set_running_or_notify_cancel():
            return "cancelled"
        result, failure, outcome = None, None, "finished"
        if not self.should_stop():
            try:
                result = self.work(self.should_stop)
            except Exception as error:  # noqa: BLE001  # a side task's border: whatever it raises must not end the worker
                failure, outcome = describe(error)
        if self.stopped:
            failure = DeadlineExceeded("The deadline passed before the work was done.")
            outcome = "out_of_memory" if outcome == "out_of_memory" else "cancelled" if self.left else "deadline"
        self._answer(result, failure)
        return outcome

    def fail(self, error: Exception) -> None:
        """Fail a caller whose side task will never run."""
        if not self.answer.done():
            self._answer(None, error)

    def _answer(self, result: Any, failure: Exception | None) -> None:
        if failure is None:
            self.answer.set_result(result)
        else:
            self.answer.set_exception(failure)


class SideTasks:
    """The waiting and running side tasks of one engine, with a limit.

    All methods need the engine's lock.
    """

    def __init__(self, service: str, most: int) -> None:
        self._service = service
        self._most = most
        self._numbers = itertools.count()
        self._present: list[SideTask] = []

    def __bool__(self) -> bool:
        return bool(self._present)

    def add(self, work: Work[Any], deadline: float | None) -> SideTask:
        """Add a task.

        Raises `QueueFull`; tasks of disconnected callers do not count.
        """
        waiting = sum(not side_task.left for side_task in self._present)
        if waiting >= self._most:
            metrics.SIDE_TASKS.labels(self._service, "refused_full").inc()
            raise QueueFull(f"{waiting} side tasks are waiting; try again later.", retry_after_seconds=1.0)
        side_task = SideTask(work, deadline, next(self._numbers))
        self._present.append(side_task)
        return side_task

    def in_order(self) -> list[SideTask]:
        """The tasks in execution order."""
        return sorted(self._present, key=lambda side_task: side_task.rank)

    def remove(self, side_task: SideTask, outcome: str) -> None:
        """Remove a finished task, and count it."""
        self._present.remove(side_task)
        metrics.SIDE_TASKS.labels(self._service, outcome).inc()
        metrics.SIDE_TASK_WAIT.labels(self._service).observe(side_task.began - side_task.entered)
        metrics.SIDE_TASK.labels(self._service).observe(time.monotonic() - side_task.began)
