"""One thread that owns a device, and the bounded queue before it.

For work that is one piece, such as a BEN2 forward; the denoising engine of `services.diffusion` schedules step by step
instead. Knows nothing of torch or of what the work is.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from imgedit.errors import DeadlineExceeded, QueueFull
from services.common import metrics

T = TypeVar("T")


@dataclass(frozen=True)
class _Job:
    work: Callable[[], Any]
    deadline: float | None
    future: Future[Any]
    queued_at: float


class Worker:
    """Runs one piece of work at a time, first come first served, on a thread that nothing else uses.

    `max_waiting` jobs may wait. Work that is cancelled or out of time before its turn is never run.
    """

    def __init__(self, service: str, *, max_waiting: int) -> None:
        self._service = service
        self._max_waiting = max_waiting
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._mean_seconds = 1.0
        # A daemon: a process that is told to stop during a long load does not wait for it.
        self._thread = threading.Thread(target=self._loop, name=f"{service}-worker", daemon=True)
        self._thread.start()

    async def run(self, work: Callable[[], T], *, deadline: float | None = None) -> T:
        """Queue `work` and wait for its result.

        `deadline` is on the `time.monotonic` clock. Raises `QueueFull`, `DeadlineExceeded`, or what the work raises.
        Cancelling the caller removes work that still waits.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._waiting >= self._max_waiting:
                raise QueueFull(
                    f"{self._waiting} jobs wait already; retry later",
                    retry_after_seconds=max(1.0, self._waiting * self._mean_seconds),
                )
            self._waiting += 1
        metrics.QUEUE_DEPTH.labels(self._service).set(self._waiting)
        self._queue.put(_Job(work, deadline, future, time.monotonic()))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """End the thread after the jobs that are queued now."""
        self._queue.put(None)

    def _loop(self) -> None:
        while (job := self._queue.get()) is not None:
            with self._lock:
                self._waiting -= 1
            metrics.QUEUE_DEPTH.labels(self._service).set(self._waiting)
            if job.future.set_running_or_notify_cancel():
                self._run(job)

    def _run(self, job: _Job) -> None:
        started = time.monotonic()
        metrics.QUEUE_WAIT_SECONDS.labels(self._service).observe(started - job.queued_at)
        if job.deadline is not None and started >= job.deadline:
            job.future.set_exception(DeadlineExceeded("the deadline passed while the job waited; nothing was computed"))
            return
        try:
            result = job.work()
        except BaseException as error:  # noqa: BLE001  # handed to the caller, whatever it is
            job.future.set_exception(error)
            return
        self._mean_seconds += 0.2 * (time.monotonic() - started - self._mean_seconds)
        job.future.set_result(result)
