"""One thread that owns a device, behind a bounded queue.

For indivisible work, such as a BEN2 forward. The denoising engine of `services.diffusion` schedules step by step
instead.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from imgedit.errors import DeadlineExceeded, QueueFull, ServiceUnavailable
from services.common import metrics

T = TypeVar("T")


class DeviceLost(Exception):
    """The device no longer responds; only a new process can use it again."""


class Alarm:
    """An event that the service can no longer serve.

    Set from any thread, awaited on any event loop.
    """

    def __init__(self) -> None:
        self._given: Future[None] = Future()

    def give(self) -> None:
        """Set the event; setting it twice has no effect."""
        if not self._given.done():
            self._given.set_result(None)

    async def wait(self) -> None:
        """Wait until it is set."""
        await asyncio.shield(asyncio.wrap_future(self._given))  # cancelling one waiter leaves the event to the others


@dataclass(frozen=True, eq=False)
class _Job:
    work: Callable[[], Any]
    deadline: Callable[[], float]
    future: Future[Any]
    queued_at: float


class Worker:
    """Runs one job at a time, in arrival order, on its own thread.

    `max_waiting` jobs may wait. Jobs that are cancelled or late before their turn never run. After a job raises
    `DeviceLost` no other runs, and `ended_by_itself` returns.
    """

    def __init__(self, service: str, *, max_waiting: int) -> None:
        self._service = service
        self._max_waiting = max_waiting
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._ended = Alarm()
        self._mean_seconds = 1.0
        # A daemon thread: a process that must stop during a long load does not wait for it.
        self._thread = threading.Thread(target=self._loop, name=f"{service}-worker", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T], *, deadline: Callable[[], float] = lambda: math.inf) -> T:
        """Queue `work` and wait for its result.

        `deadline` is called when the job's turn comes and returns a time on the `time.monotonic` clock. Raises
        `QueueFull`, `DeadlineExceeded`, `ServiceUnavailable` after `close`, or the job's error. Cancelling the caller
        removes a waiting job.
        """
        job = _Job(work, deadline, Future(), time.monotonic())
        self._enqueue(job)
        try:
            return await asyncio.wrap_future(job.future)
        except asyncio.CancelledError:
            self._remove(job)
            raise

    async def ended_by_itself(self) -> None:
        """Wait until the device is lost."""
        await self._ended.wait()

    def close(self) -> None:
        """End the thread after the queued jobs."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()

    def _enqueue(self, job: _Job) -> None:
        with self._changed:
            if self._is_closed:
                raise ServiceUnavailable("the service is stopping; retry")
            waiting = len(self._waiting)
            if waiting >= self._max_waiting:
                raise QueueFull(
                    f"{waiting} jobs wait already; retry later",
                    retry_after_seconds=max(1.0, waiting * self._mean_seconds),
                )
            self._waiting.append(job)
            self._count()
            self._changed.notify()

    def _remove(self, job: _Job) -> None:
        with self._changed:
            if job in self._waiting:
                self._waiting.remove(job)
                self._count()

    def _next(self) -> _Job | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            if not self._waiting:
                return None
            job = self._waiting.popleft()
            self._count()
            return job

    def _count(self) -> None:
        metrics.QUEUE_DEPTH.labels(self._service).set(len(self._waiting))

    def _loop(self) -> None:
        while (job := self._next()) is not None:
            if job.future.set_running_or_notify_cancel():
                self._run(job)
            del job  # while this thread waits, it must not keep the last job's images alive

    def _run(self, job: _Job) -> None:
        started = time.monotonic()
        metrics.QUEUE_WAIT_SECONDS.labels(self._service).observe(started - job.queued_at)
        if started >= job.deadline():
            job.future.set_exception(DeadlineExceeded("the deadline passed while the job waited; nothing was computed"))
            return
        try:
            result = job.work()
        except DeviceLost as error:
            job.future.set_exception(error)
            self._lose_device()
            return
        except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
            job.future.set_exception(error)
            return
        self._mean_seconds += 0.2 * (time.monotonic() - started - self._mean_seconds)
        job.future.set_result(result)

    def _lose_device(self) -> None:
        """Stop running jobs; waiting ones may run in another process."""
        with self._changed:
            self._is_closed = True
            left, self._waiting = [*self._waiting], deque()
            self._count()
        for job in left:
            if job.future.set_running_or_notify_cancel():
                job.future.set_exception(ServiceUnavailable("the service has lost its device and restarts; retry"))
        self._ended.give()
