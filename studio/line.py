"""The edits of a visit in line: one run works, the others wait for it.

Does not import Streamlit. The end of a run starts the next one on the run's thread, so the line needs no open browser.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial

from imgedit.sync_client import SyncEditClient
from studio.batch import Batch
from studio.runs import Run, Task

MOST_WAITING = 10
"""Jobs that may wait; each holds its images in memory."""


@dataclass(eq=False)
class Job:
    """One press of the button: its run, and its batch if there is one.

    has_company: it has waited, or another job has waited for it.
    """

    run: Run
    batch: Batch | None = None
    has_company: bool = False

    def asks_the_same_as(self, tasks: list[Task]) -> bool:
        """Whether it edits these images with these options."""
        mine = [(id(task.source), task.options) for task in self.run.tasks]
        return mine == [(id(task.source), task.options) for task in tasks]


@dataclass
class Line:
    """Jobs in the order of their presses; thread-safe."""

    running: Job | None = None
    _waiting: list[tuple[Job, SyncEditClient, float]] = field(default_factory=list)
    _ended: list[Job] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, job: Job, client: SyncEditClient, timeout: float) -> None:
        """Start a job now, or after those before it. `timeout`: seconds per edit."""
        with self._lock:
            if self.running is not None:
                job.has_company = self.running.has_company = True
            self._waiting.append((job, client, timeout))
            self._start_next()

    @property
    def current(self) -> Job | None:
        """The running job, else the last one that `take_ended` has not returned yet."""
        with self._lock:
            return self.running or (self._ended[-1] if self._ended else None)

    @property
    def waiting(self) -> list[Job]:
        """Those that have not begun, the next one first."""
        with self._lock:
            return [job for job, _, _ in self._waiting]

    @property
    def jobs(self) -> list[Job]:
        """The running job, then the waiting ones."""
        with self._lock:
            return [*([self.running] if self.running else []), *(job for job, _, _ in self._waiting)]

    def leave(self, job: Job) -> None:
        """Take a waiting job out; nothing happens if it has begun."""
        with self._lock:
            self._waiting = [entry for entry in self._waiting if entry[0] is not job]

    def take_ended(self) -> list[Job]:
        """The jobs that have ended since the last call, in their order."""
        with self._lock:
            ended, self._ended = self._ended, []
        return ended

    def close(self) -> None:
        """Drop the waiting jobs, and cancel the running one.

        Returns after the server was notified, or could not be.
        """
        with self._lock:
            self._waiting, running = [], self.running
        if running is not None:
            running.run.cancel()

    def _start_next(self) -> None:
        if self.running is None and self._waiting:
            self.running, client, timeout = self._waiting.pop(0)
            self.running.run.start(client, timeout, on_end=partial(self._end, self.running))

    def _end(self, job: Job) -> None:
        with self._lock:
            self._ended.append(job)
            self.running = None
            self._start_next()
