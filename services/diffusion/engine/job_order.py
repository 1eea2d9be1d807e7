"""The schedule: the next job, the jobs that share its batch, and forecasts.

Earliest deadline first while all deadlines can be met. Under overload that order would waste steps on late jobs, so the
longest competing jobs are set aside (Moore 1968: fewest late jobs) and run only when the device is idle. Jobs without a
deadline are never set aside.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from services.diffusion.engine.cost import NOTHING, CostModel, Estimate
from services.diffusion.engine.job import Job

AnyJob = Job[Any, Any]


@dataclass(frozen=True)
class Outlook:
    """The expected course of a job that is not queued.

    position: jobs ahead of it. queue_seconds: until its work begins; work_seconds: of its work, unbatched. None =
    unknown.
    """

    position: int
    queue_seconds: float | None
    work_seconds: float | None


class JobOrder:
    """Decisions over the jobs of one engine, by the cost model.

    max_batch: most jobs in one forward.
    """

    def __init__(self, cost: CostModel, max_batch: int) -> None:
        self._cost = cost
        self._max_batch = max_batch

    def needed(self, job: AnyJob) -> Estimate | None:
        """The job's remaining work, unbatched; None if unknown."""
        if job.cancelled:
            return NOTHING
        return self._cost.left(job.workload, prepared=job.state is not None, steps_done=job.steps_done)

    def forecast(self, jobs: Iterable[AnyJob]) -> dict[AnyJob, float | None]:
        """The jobs in execution order, each with the seconds until its end.

        None = unknown.

        First those that can be on time, by due time; then the rest.
        """
        on_time, aside = self._split(jobs)
        forecast: dict[AnyJob, float | None] = {}
        total: float | None = 0.0
        for job in on_time + aside:
            needed = self.needed(job)
            total = None if total is None or needed is None else total + needed.seconds
            forecast[job] = total
        return forecast

    def outlook(self, job: AnyJob, others: Iterable[AnyJob]) -> Outlook:
        """The expected course of a job behind those of the others that come before it."""
        forecast = self.forecast([*others, job])
        position = list(forecast).index(job)
        ends = [0.0, *forecast.values()]
        needed = self.needed(job)
        return Outlook(position, ends[position], None if needed is None else needed.seconds)

    def _split(self, jobs: Iterable[AnyJob]) -> tuple[list[AnyJob], list[AnyJob]]:
        """The jobs that can be on time and the others, both by due time."""
        on_time: list[AnyJob] = []
        aside: list[AnyJob] = []
        seconds: dict[AnyJob, float] = {}
        total = 0.0
        for job in sorted(jobs, key=lambda job: job.rank):
            seconds[job] = (self.needed(job) or NOTHING).seconds
            on_time.append(job)
            total += seconds[job]
            surplus = total - job.time_left()
            if surplus > 0:
                waits = [member for member in on_time if member.deadline is not None]
                longest = max(waits, key=lambda member: (seconds[member], member.number))
                victim = longest if seconds[longest] >= surplus else job
                on_time.remove(victim)
                aside.append(victim)
                total -= seconds[victim]
        return on_time, sorted(aside, key=lambda job: job.rank)

    def least(self, job: AnyJob, others: Iterable[AnyJob]) -> float:
        """A lower bound on the seconds until this job ends, with the other jobs.

        It waits for earlier jobs that can be on time; possible savings by batching are subtracted.
        """
        on_time, _ = self._split([*others, job])
        line = [*(other for other in on_time if other.rank < job.rank), job]
        return sum(self._least_alone(member) * self._share(member, line) for member in line)

    def is_hopeless(self, job: AnyJob) -> bool:
        """Whether the job misses its deadline even with the device for itself."""
        return self._least_alone(job) > job.time_left()

    def _least_alone(self, job: AnyJob) -> float:
        return (self.needed(job) or NOTHING).least

    def _share(self, job: AnyJob, line: Iterable[AnyJob]) -> float:
        shared = any(other is not job and job.can_join(other) for other in line)
        return self._cost.share(job.workload, self._max_batch) if shared else 1.0

    def batch(self, first: AnyJob, ranked: Iterable[AnyJob]) -> list[AnyJob]:
        """The batch of the first job: as many as pay and as it can afford to wait for."""
        batch = [first]
        for job in ranked:
            if job is first or job.state is None or not job.steps_left or not job.can_step_with(first):
                continue
            if not self._may_grow(batch):
                break
            batch.append(job)
        return batch

    def recruit(self, first: AnyJob, ranked: Sequence[AnyJob]) -> AnyJob | None:
        """A waiting job worth preparing now, so that it can join the first job's batch."""
        same = [job for job in ranked if job.steps_left and job.can_step_with(first)]
        waiting = [job for job in same if job.state is None]
        ready = [first, *(job for job in same if job is not first and job.state is not None)]
        return waiting[0] if waiting and self._may_grow(ready) else None

    def _may_grow(self, batch: Sequence[AnyJob]) -> bool:
        """Whether one more job in this batch pays and leaves its first job enough time."""
        first, size, full = batch[0], len(batch) + 1, batch[0].next_is_full
        if size > self._max_batch or not self._cost.batch_pays(first.workload, size, full=full):
            return False
        alone = self._cost.step_seconds(first.workload, 1, full=full) or 0.0
        together = self._cost.step_seconds(first.workload, size, full=full) or 0.0
        needed = (self.needed(first) or NOTHING).seconds
        return needed + first.steps_left * (together - alone) <= first.time_left()
