"""Which job goes next, with whom, and when each will be done.

Earliest deadline first while all can be met. Under overload that order would spend steps on job after job that is then
too late, so the jobs that cost the most and cannot all be met are set aside (Moore 1968: the fewest late jobs): they
run only where nothing else does. Jobs without a deadline are never set aside. Decides; runs nothing, has no thread.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from services.diffusion.engine.cost import NOTHING, CostModel, Estimate
from services.diffusion.engine.job import Job

AnyJob = Job[Any, Any]


class JobOrder:
    """Decisions over the jobs of one engine by what the cost model knows. max_batch: most jobs in one forward."""

    def __init__(self, cost: CostModel, max_batch: int) -> None:
        self._cost = cost
        self._max_batch = max_batch

    def needed(self, job: AnyJob) -> Estimate | None:
        """The job's remaining work, running alone; None when not known."""
        if job.cancelled:
            return NOTHING
        return self._cost.left(job.workload, prepared=job.state is not None, steps_done=job.steps_done)

    def forecast(self, jobs: Iterable[AnyJob]) -> dict[AnyJob, float | None]:
        """The jobs in the order in which they should run, each with the seconds until it is finished; None = unknown.

        First those that can be on time, by their due time; then the rest.
        """
        on_time, aside = self._split(jobs)
        forecast: dict[AnyJob, float | None] = {}
        total: float | None = 0.0
        for job in on_time + aside:
            needed = self.needed(job)
            total = None if total is None or needed is None else total + needed.seconds
            forecast[job] = total
        return forecast

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
        """Seconds that pass at least until this job is finished beside the others, as far as is known for certain.

        It waits for those that are due before it and can be on time; what a batch would save is taken off.
        """
        on_time, _ = self._split([*others, job])
        line = [*(other for other in on_time if other.rank < job.rank), job]
        return sum(self._least_alone(member) * self._share(member, line) for member in line)

    def is_hopeless(self, job: AnyJob) -> bool:
        """Whether the job will miss its deadline even if it gets the device for itself."""
        return self._least_alone(job) > job.time_left()

    def _least_alone(self, job: AnyJob) -> float:
        return (self.needed(job) or NOTHING).least

    def _share(self, job: AnyJob, line: Iterable[AnyJob]) -> float:
        shared = any(other is not job and job.can_join(other) for other in line)
        return self._cost.share(job.workload, self._max_batch) if shared else 1.0

    def batch(self, first: AnyJob, ranked: Iterable[AnyJob]) -> list[AnyJob]:
        """The jobs that step together with the first one: as many as pay, as long as it can afford to wait for them."""
        batch = [first]
        for job in ranked:
            if job is first or job.state is None or not job.steps_left or not job.can_step_with(first):
                continue
            if not self._may_grow(batch):
                break
            batch.append(job)
        return batch

    def recruit(self, first: AnyJob, ranked: Sequence[AnyJob]) -> AnyJob | None:
        """A waiting job that is worth preparing now so that it can step along with the first one."""
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
