"""The step engine: many jobs, one device, a decision before every denoise step.

A job is prepare → N denoise steps → decode. One worker thread owns the device. At each turn it ends cancelled and late
jobs, takes the job with the earliest due time, and runs one work item of it: its preparation, one step (batched with
jobs of the same batch key if the cost model says it pays), or its decoding. So a cancel, a deadline or a more urgent
job waits for at most one step, and no work is done for a disconnected caller. Side tasks, short urgent work, run before
the work item.

An `Adapter` provides the model; the engine does not import torch. Jobs are independent: a job's result is the same
alone, interleaved and after a neighbour's failure, and in a batch up to rounding.
"""

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from imgedit.errors import (
    DeadlineExceeded,
    EditCancelled,
    ImgeditError,
    InternalError,
    QueueFull,
    ServiceUnavailable,
    WouldMissDeadline,
)
from services.common import tracing
from services.common.metrics import QUEUE_DEPTH, QUEUE_WAIT_SECONDS
from services.common.worker import Alarm
from services.diffusion.engine import metrics
from services.diffusion.engine.adapter import Adapter, Workload
from services.diffusion.engine.cost import CostModel
from services.diffusion.engine.events import Event, Finished, Preview, Progress, Queued
from services.diffusion.engine.failure import describe
from services.diffusion.engine.job import Job, due_time
from services.diffusion.engine.job_order import JobOrder, Outlook
from services.diffusion.engine.job_spans import JobSpans
from services.diffusion.engine.preview import jpeg_of
from services.diffusion.engine.room import Room
from services.diffusion.engine.side_task import ResultT, SideTasks, Work

log = logging.getLogger(__name__)

SpecT = TypeVar("SpecT")
StateT = TypeVar("StateT")
OutputT = TypeVar("OutputT")


class Engine(Generic[SpecT, StateT, OutputT]):
    """Runs jobs of one adapter on one worker thread.

    Public besides the methods: `adapter` (the model) and `cost` (what the engine has learnt of its speed).

    adapter: the model. max_jobs, max_bytes: limits on queued and running jobs; more are rejected. The limit on side
    tasks is also max_jobs. max_batch: most jobs in one forward; 1 turns batching off. max_kept_bytes: limit on the
    memory that running jobs keep for region steps; a job that would exceed it waits for others to end. max_part_bytes:
    the same for the parts of running jobs. name: the value of the label `service` in the metrics.
    """

    def __init__(
        self,
        adapter: Adapter[SpecT, StateT, OutputT],
        *,
        max_jobs: int = 16,
        max_bytes: int = 256 * 1024 * 1024,
        max_batch: int = 4,
        max_kept_bytes: int = 0,
        max_part_bytes: int = 0,
        name: str = "engine",
    ) -> None:
        self.cost = CostModel()
        self.adapter = adapter
        self._schedule = JobOrder(self.cost, max_batch)
        self._max_jobs, self._max_bytes = max_jobs, max_bytes
        self._room = Room(max_kept_bytes, max_part_bytes)
        self._name = name
        self._jobs: list[Job[SpecT, StateT]] = []
        self._side_tasks = SideTasks(name, max_jobs)
        self._changed = threading.Condition()
        self._closing = self._is_lost = False
        self._ended = Alarm()
        self._numbers = itertools.count()
        self._worker = threading.Thread(target=self._work, name=f"{name}-engine", daemon=True)
        self._previews = ThreadPoolExecutor(1, thread_name_prefix=f"{name}-preview")
        metrics.declare(name)

    # The caller's side: any event loop.

    def start(self) -> None:
        """Start the worker thread."""
        self._worker.start()

    @property
    def alive(self) -> bool:
        """Whether the worker accepts jobs."""
        return self._worker.is_alive() and not self._closing and not self._is_lost

    async def ended_by_itself(self) -> None:
        """Wait until the worker stops unexpectedly: by a bug, or a lost device."""
        await self._ended.wait()

    async def aclose(self) -> None:
        """Accept no more jobs, finish the present ones, stop the worker."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._worker.is_alive():
            await asyncio.to_thread(self._worker.join)
        self._previews.shutdown()

    async def run_job(
        self, spec: SpecT, *, deadline: float | None = None, preview_every: int = 0
    ) -> AsyncGenerator[Event[OutputT], None]:
        """Run one job and yield its events; the last one is `Finished`.

        deadline: on `time.monotonic()`; None = none. preview_every: a preview after every so many steps, 0 = none.
        Closing the generator or cancelling the task cancels the job at its next step.

        Raises `InvalidArgument` (an unsupported spec), `QueueFull`, `WouldMissDeadline` (rejected up front),
        `DeadlineExceeded`, `OutOfMemory`, `ServiceUnavailable` (the engine is closing), or the adapter's error.
        """
        workload = self.adapter.workload(spec)
        if workload.steps == 0:
            yield Finished(self.adapter.unchanged(spec))
            return
        job = self._enter(spec, workload, deadline, preview_every)
        try:
            while True:
                message = await job.events.get()
                if isinstance(message, Exception):
                    raise message
                yield message
                if isinstance(message, Finished):
                    return
        finally:
            with self._changed:
                job.cancelled = True
                self._changed.notify_all()

    def outlook(self, spec: SpecT, *, deadline: float | None = None) -> Outlook:
        """The expected course of a job with this deadline if it were queued now.

        Raises `InvalidArgument` (an unsupported spec) and `ServiceUnavailable` (the engine is closing).
        """
        workload = self.adapter.workload(spec)
        with self._changed:
            self._refuse_if_ended()
            if workload.steps == 0:
                return Outlook(0, 0.0, 0.0)
            return self._schedule.outlook(self._job(spec, workload, deadline), self._jobs)

    async def run_between_steps(self, work: Work[ResultT], *, deadline: float | None = None) -> ResultT:
        """Run `work` on the worker thread before any job's next step; return its result.

        deadline: on `time.monotonic()`; None = none. The work should take no longer than a few steps. Its argument is a
        function that returns true when it must return, because the caller has left or the deadline has passed. Waiting
        tasks run one after another, the earliest deadline first; then the jobs get a turn.

        Raises `QueueFull`, `DeadlineExceeded`, `OutOfMemory`, `ServiceUnavailable`, or the work's error.
        """
        with self._changed:
            self._refuse_if_ended()
            side_task = self._side_tasks.add(work, deadline)
            self._changed.notify_all()
        try:
            with tracing.span("side task"):
                result: ResultT = await asyncio.wrap_future(side_task.future)
            return result
        finally:
            side_task.left = True

    def _enter(self, spec: SpecT, workload: Workload, deadline: float | None, preview_every: int) -> Job[SpecT, StateT]:
        """Admit a job, or reject it."""
        with self._changed:
            self._refuse_if_ended()
            job = self._job(spec, workload, deadline, preview_every)
            self._refuse_if_full(workload)
            self._refuse_if_late(job)
            self._jobs.append(job)
            self._announce()
            self._changed.notify_all()
        return job

    def _job(
        self, spec: SpecT, workload: Workload, deadline: float | None, preview_every: int = 0
    ) -> Job[SpecT, StateT]:
        """A job that arrives now. The lock is held."""
        now, expected = time.monotonic(), self.cost.left(workload)
        return Job(
            spec=spec,
            workload=workload,
            number=next(self._numbers),
            entered=now,
            deadline=deadline,
            due=due_time(now, deadline, None if expected is None else expected.seconds),
            preview_every=preview_every,
            loop=asyncio.get_running_loop(),
            spans=JobSpans.of_current_call(workload.steps),
        )

    def _refuse_if_ended(self) -> None:
        if self._closing:
            raise ServiceUnavailable("The service is shutting down; send the request again.")
        if self._is_lost:
            raise ServiceUnavailable("The service has lost its device and is being restarted; send the request again.")

    def _refuse_if_full(self, workload: Workload) -> None:
        present = [job for job in self._jobs if not job.cancelled]
        held = sum(job.workload.nbytes for job in present)
        if len(present) < self._max_jobs and (held + workload.nbytes <= self._max_bytes or not present):
            return
        metrics.JOBS.labels(self._name, "refused_full").inc()
        first = min((eta or 1.0 for eta in self._schedule.forecast(self._jobs).values()), default=1.0)
        raise QueueFull(
            f"{len(present)} jobs are waiting; try again later.", retry_after_seconds=round(max(first, 0.1), 2)
        )

    def _refuse_if_late(self, job: Job[SpecT, StateT]) -> None:
        left = job.time_left()
        if left <= 0:
            metrics.JOBS.labels(self._name, "refused_deadline").inc()
            raise DeadlineExceeded("The deadline had passed before the job began.")
        least = self._schedule.least(job, self._jobs)
        if least > left:
            metrics.JOBS.labels(self._name, "refused_deadline").inc()
            raise WouldMissDeadline(
                f"The job would take at least {least:.1f} s from now and has {left:.1f} s; allow more time or fewer "
                "steps."
            )

    def _announce(self) -> None:
        """Report changed positions to waiting jobs, and update the gauges.

        The lock is held.
        """
        for position, (job, eta) in enumerate(self._schedule.forecast(self._jobs).items()):
            if job.state is None and job.position != position:
                job.position = position
                job.post(Queued(position, eta))
        QUEUE_DEPTH.labels(self._name).set(len(self._jobs))
        metrics.QUEUE_BYTES.labels(self._name).set(sum(job.workload.nbytes for job in self._jobs))
        metrics.KEPT_BYTES.labels(self._name).set(self._kept_bytes())

    # The worker's side: one thread.

    def _work(self) -> None:
        try:
            while not self._is_lost and self._wait_for_work():
                self._run_side_tasks()
                self._turn()
        finally:
            with self._changed:
                self._is_lost = not self._closing  # also when the worker crashed: nobody may wait
            try:
                self._fail_what_is_left()
            finally:
                if self._is_lost:
                    self._ended.give()

    def _fail_what_is_left(self) -> None:
        """Fail all callers.

        Work that had not begun cannot have crashed the worker: it may run elsewhere.
        """
        stopped = InternalError("The engine stopped.")
        not_begun = ServiceUnavailable("The engine stopped before the work began; send the request again.")
        for job in list(self._jobs):
            job.state, has_begun = None, "queue" in job.timings  # without `release`: the device may not respond
            self._end(job, stopped if has_begun else not_begun, "failed")
        for side_task in self._side_tasks.in_order():
            side_task.fail(stopped if side_task.began else not_begun)

    def _wait_for_work(self) -> bool:
        """Block until there is work.

        False when the engine is closing and all work is done.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._side_tasks or self._closing)
            return bool(self._jobs or self._side_tasks)

    def _run_side_tasks(self) -> None:
        """Run the present side tasks; new ones wait for the jobs' turn."""
        with self._changed:
            waiting = self._side_tasks.in_order()
        for side_task in waiting:
            outcome = side_task.run(self._describe)
            with self._changed:
                self._side_tasks.remove(side_task, outcome)
            if outcome == "out_of_memory":
                self._give_memory_back()

    def _turn(self) -> None:
        """Make one decision and run one work item."""
        self._end_the_dead()
        with self._changed:
            ranked = self._room.with_room(self._schedule.forecast(self._jobs), self._running())
        if not ranked:
            return
        first = ranked[0]
        if first.state is None:
            self._prepare(first)
        elif first.steps_left == 0:
            self._decode(first)
        elif recruit := self._schedule.recruit(first, ranked):
            self._prepare(recruit)
        else:
            self._step(self._schedule.batch(first, ranked))

    def _running(self) -> list[Job[SpecT, StateT]]:
        return [job for job in self._jobs if job.state is not None]

    def _kept_bytes(self) -> int:
        return sum(job.workload.kept_bytes for job in self._running())

    def _end_the_dead(self) -> None:
        """End every job that is cancelled, late, or certain to miss its deadline."""
        for job in list(self._jobs):
            if job.cancelled:
                self._end(job, EditCancelled("The job was cancelled."), "cancelled")
            elif job.time_left() <= 0:
                self._end(job, DeadlineExceeded("The deadline passed before the job was done."), "deadline")
            elif self._schedule.is_hopeless(job):
                message = f"More work remains than fits into the {job.time_left():.1f} s of time left."
                self._end(job, DeadlineExceeded(message), "deadline")

    def _prepare(self, job: Job[SpecT, StateT]) -> None:
        if "queue" not in job.timings:
            job.timings["queue"] = time.monotonic() - job.entered
            QUEUE_WAIT_SECONDS.labels(self._name).observe(job.timings["queue"])

        def prepare() -> None:
            job.state = self.adapter.prepare(job.spec)

        job.begin("prepare")
        seconds = self._attempt([job], prepare)
        if seconds is not None:
            job.spend("prepare", seconds)
            with self._changed:
                self.cost.observe_prepare(job.workload, seconds)
                metrics.KEPT_BYTES.labels(self._name).set(self._kept_bytes())
            metrics.PREPARE.labels(self._name).observe(seconds)

    def _step(self, batch: list[Job[SpecT, StateT]]) -> None:
        def step() -> None:
            self.adapter.denoise([job.state for job in batch if job.state is not None])

        full = batch[0].next_is_full
        predicted = self.cost.step_seconds(batch[0].workload, len(batch), full=full)
        for job in batch:
            job.begin("denoise")
        seconds = self._attempt(batch, step)
        if seconds is None:
            return
        metrics.STEP.labels(self._name).observe(seconds)
        metrics.BATCH_SIZE.labels(self._name).observe(len(batch))
        if predicted is not None and seconds > 0:
            metrics.COST_ERROR.labels(self._name).observe(abs(predicted - seconds) / seconds)
        if not full:
            metrics.REGION_STEPS.labels(self._name).inc(len(batch))
        for job in batch:
            job.steps_done += 1
            if job.spans is not None and job.state is not None:
                job.spans.skipped = self.adapter.skipped(job.state)
            job.spend("denoise", seconds, jobs=len(batch))
        with self._changed:
            self.cost.observe_step([job.workload for job in batch], seconds, full=full)
            forecast = self._schedule.forecast(self._jobs)
        for job in batch:
            job.post(Progress(job.steps_done, job.workload.steps, forecast[job]))
            self._send_preview(job)

    def _send_preview(self, job: Job[SpecT, StateT]) -> None:
        """Every k steps: fetch the latents here, encode the JPEG on the preview thread."""
        if not job.preview_every or job.steps_done % job.preview_every or not job.steps_left:
            return

        def fetch() -> None:
            if job.state is not None:
                latents, latent_rgb = self.adapter.latents(job.state), self.adapter.latent_rgb()
                self._previews.submit(lambda: job.post(Preview(jpeg_of(latents, latent_rgb))))

        self._attempt([job], fetch)

    def _decode(self, job: Job[SpecT, StateT]) -> None:
        results: list[OutputT] = []

        def decode() -> None:
            if job.state is not None:
                results.append(self.adapter.decode(job.state))

        job.begin("decode")
        seconds = self._attempt([job], decode)
        if seconds is None:
            return
        job.spend("decode", seconds)
        with self._changed:
            self.cost.observe_decode(job.workload, seconds)
        metrics.DECODE.labels(self._name).observe(seconds)
        full_steps = job.workload.full_steps(0, job.steps_done)
        self._end(job, Finished(results[0], job.timings, job.steps_done, full_steps), "finished")

    def _attempt(self, jobs: list[Job[SpecT, StateT]], quantum: Callable[[], None]) -> float | None:
        """Run a work item and return its seconds, or None if it failed.

        A failed unbatched job ends; a failed batch is split. An unbatched job that runs out of memory is retried once,
        because released memory may suffice.
        """
        started = time.monotonic()
        try:
            quantum()
            return time.monotonic() - started
        except Exception as error:  # noqa: BLE001  # a job's border: whatever a model raises must not end the worker
            failure, outcome = self._describe(error)
        may_retry = outcome == "out_of_memory" and not jobs[0].retried
        if len(jobs) == 1 and may_retry:
            jobs[0].retried = True
        elif len(jobs) == 1:
            self._end(jobs[0], failure, outcome)
        elif outcome == "out_of_memory":
            self.cost.forbid_batch(jobs[0].workload, len(jobs), full=jobs[0].next_is_full)
        else:
            for job in jobs:
                job.alone = True
        if outcome == "out_of_memory":
            self._give_memory_back()
        return None

    def _give_memory_back(self) -> None:
        metrics.OUT_OF_MEMORY.labels(self._name).inc()
        self.adapter.free_memory()

    def _describe(self, error: Exception) -> tuple[Exception, str]:
        """The caller's error and the outcome.

        After an unexpected error also check whether the device is lost.
        """
        out_of_memory = self.adapter.is_out_of_memory(error)
        if not out_of_memory and not isinstance(error, ImgeditError) and not self.adapter.device_works():
            log.critical("%s: the device answers no call any more", self._name)
            self._is_lost = True
        return describe(error, self._name, out_of_memory=out_of_memory)

    def _end(self, job: Job[SpecT, StateT], message: Finished[Any] | Exception, outcome: str) -> None:
        """Remove the job, free its memory, and notify its caller."""
        state, job.state = job.state, None
        if state is not None:
            self.adapter.release(state)
        if job.spans is not None:
            job.spans.close(message if isinstance(message, Exception) else None)
        with self._changed:
            self._jobs.remove(job)
            self._announce()
        metrics.JOBS.labels(self._name, outcome).inc()
        metrics.PEAK_MEMORY.labels(self._name).set(self.adapter.peak_memory())
        if outcome in ("cancelled", "deadline"):
            metrics.STEPS_SAVED.labels(self._name).inc(job.steps_left)
        job.post(message)
