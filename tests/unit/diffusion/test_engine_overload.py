"""Overload: which jobs continue, are set aside, or are rejected.

The jobs take many minutes, so that the clock does not matter.
"""

import itertools
import time
from typing import Any

import pytest

from imgedit.errors import DeadlineExceeded
from services.diffusion.engine.adapter import Plan
from services.diffusion.engine.cost import CostModel
from services.diffusion.engine.engine import Engine
from services.diffusion.engine.job import Job
from services.diffusion.engine.schedule import Schedule
from tests.support.engine import Clockwork, Task, finish, with_engine
from tests.unit.diffusion.test_engine_schedule import soon

STEP = 100.0
"""Seconds of every step here; preparation and decoding take none."""

numbers = itertools.count()


def model(batch_of_two: float | None = None) -> CostModel:
    """A cost model with single steps, and batches of two that took `batch_of_two` s."""
    cost = CostModel()
    plan = job(1).plan
    cost.observe_prepare(plan, 1e-9)
    for _ in range(5):
        cost.observe_step([plan], STEP)
        if batch_of_two is not None:
            cost.observe_step([plan, plan], batch_of_two)
    return cost


def job(steps: int, patience: float | None = None, *, done: int = 0) -> Job[Any, Any]:
    """A job with so many steps, some done, and a deadline in seconds from now."""
    now = time.monotonic()
    deadline = None if patience is None else now + patience
    made: Job[Any, Any] = Job(
        spec=None,
        plan=Plan(steps=steps, tokens=100, passes=1, nbytes=1, batch_key="shape"),
        number=next(numbers),
        entered=now,
        deadline=deadline,
        due=now + 4 * STEP * steps if deadline is None else deadline,
        preview_every=0,
        loop=None,  # type: ignore[arg-type]
    )
    made.steps_done, made.state = done, "prepared" if done else None
    return made


def order(*jobs: Job[Any, Any]) -> list[Job[Any, Any]]:
    return list(Schedule(model(), max_batch=1).forecast(jobs))


def test_while_all_can_be_met_the_earliest_deadline_goes_first() -> None:
    late, early = job(5, 1250), job(5, 650)
    assert order(late, early) == [early, late]


def test_where_not_all_can_be_met_the_longest_is_set_aside_and_the_others_are_on_time() -> None:
    long, one, two = job(8, 1000), job(4, 1010), job(4, 1020)
    assert order(long, one, two) == [one, two, long]


def test_what_a_job_has_already_run_speaks_for_it() -> None:
    running, rival = job(10, 500, done=8), job(4, 450)
    assert order(running, rival) == [running, rival]
    fresh = job(10, 1200)
    assert order(fresh, rival) == [rival, fresh]


def test_a_job_that_cannot_be_met_anyway_takes_nothing_from_the_others() -> None:
    hopeless, fine = job(20, 500), job(6, 700)
    assert order(hopeless, fine) == [fine, hopeless]


def test_a_job_without_a_deadline_is_never_set_aside() -> None:
    whenever, urgent = job(40), job(5, 1000)
    assert order(whenever, urgent) == [urgent, whenever]
    whenever.due = time.monotonic()  # it has waited long enough
    assert order(whenever, urgent) == [whenever, urgent]


def test_unknown_costs_set_nobody_aside() -> None:
    late, early = job(50, 2), job(50, 1)
    assert list(Schedule(CostModel(), max_batch=1).forecast([late, early]).items()) == [(early, None), (late, None)]


def test_a_forecast_adds_up_the_work_before() -> None:
    forecast = Schedule(model(), max_batch=1).forecast([job(5, 5000), job(5, 2000, done=2)])
    assert list(forecast.values()) == [pytest.approx(300), pytest.approx(800)]


def test_a_new_job_waits_for_those_that_are_due_before_it_and_can_be_met() -> None:
    schedule = Schedule(model(), max_batch=1)
    before, after, doomed = job(5, 600), job(5, 5000), job(90, 700)
    assert schedule.least(job(5, 1050), [before, after, doomed]) == pytest.approx(1000)


def test_what_a_batch_saves_is_not_held_against_a_new_job() -> None:
    others = [job(5, 990)]
    assert Schedule(model(120), max_batch=2).least(job(5, 1000), others) == pytest.approx(600)
    assert Schedule(model(199), max_batch=2).least(job(5, 1000), others) == pytest.approx(1000)
    assert Schedule(model(120), max_batch=1).least(job(5, 1000), others) == pytest.approx(1000)


def test_after_a_slow_first_step_a_job_that_can_be_met_is_not_refused() -> None:
    async def scenario(engine: Engine[Any, Any, Any]) -> str:
        await finish(engine, Task("slow start", steps=1, seconds=0.2))
        done = await finish(engine, Task("quick", steps=5), deadline=soon(0.8))
        output: str = done.output
        return output

    assert with_engine(Clockwork(), scenario) == "quick after 5"


def test_a_job_that_can_no_longer_be_met_is_given_up_before_its_time_is_over() -> None:
    clockwork = Clockwork()

    async def scenario(engine: Engine[Any, Any, Any]) -> float:
        await finish(engine, Task("measure", steps=6, seconds=0.02))
        engine.cost.step._seen.clear()  # as before an overload that nobody could foresee: the job is let in
        engine.cost.step.line.error = 1.0
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await finish(engine, Task("late", steps=100, seconds=0.02), deadline=soon(1.0))
        return time.monotonic() - started

    assert with_engine(clockwork, scenario) < 0.5
    assert clockwork.log.count("step late") <= 5
