"""Region steps in the engine: schedule, cost, batching, memory of running jobs."""

import asyncio
import math
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.diffusion.engine.adapter import Part, Workload
from services.diffusion.engine.cost import TRUSTED, CostModel
from services.diffusion.engine.engine import Engine
from services.diffusion.engine.events import Queued
from services.diffusion.engine.job import Job
from services.diffusion.engine.job_order import JobOrder
from services.diffusion.engine.region_steps import RegionSchedule, RegionSteps, equal_work
from services.diffusion.engine.room import Room
from tests.support.engine import Clockwork, Task, finish, with_engine

Jobs = Engine[Any, Any, Any]

SPARSE = RegionSteps(full=(True, False, False, True), tokens=25, kept_bytes=60)


def workload(region: RegionSteps | None = SPARSE, key: str | None = "k") -> Workload:
    return Workload(steps=4, tokens=100, passes=2, nbytes=0, batch_key=key, region=region)


def levels(steps: int) -> list[float]:
    return [1 - step / steps for step in range(steps + 1)]


def sample(metric: str, service: str) -> float:
    return REGISTRY.get_sample_value(metric, {"service": service}) or 0.0


def test_a_step_is_full_again_once_the_signal_has_grown_enough() -> None:
    falling = [1 / (1 + math.exp(ratio)) for ratio in (-2.0, -1.5, -1.0, -0.2, 0.1, 0.9, 3.0, 3.1)]
    full = RegionSchedule(spacing=1, rim=1).full_steps([*falling, 0.0])
    assert full == (True, False, True, False, True, False, True, True)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=60, unique=True), st.floats(0, 9))
def test_first_and_last_steps_are_full_and_more_spacing_never_makes_more_of_them(
    drawn: list[float], spacing: float
) -> None:
    falling = [*sorted(drawn, reverse=True), 0.0]
    full = RegionSchedule(spacing, rim=0).full_steps(falling)
    assert len(full) == len(falling) - 1
    assert full[0]
    assert full[-1]
    assert sum(RegionSchedule(spacing + 1, rim=0).full_steps(falling)) <= sum(full)


def test_a_schedule_without_spacing_leaves_no_region_step() -> None:
    assert all(RegionSchedule(spacing=0, rim=0).full_steps(levels(28)))


def test_less_strength_has_fewer_full_steps() -> None:
    schedule, run = RegionSchedule(spacing=1, rim=1), levels(28)
    assert sum(schedule.full_steps(run[14:])) < sum(schedule.full_steps(run))


def test_work_counts_the_keys_that_are_not_computed() -> None:
    assert equal_work(100, 100, 64) == 100
    assert 20 < equal_work(20, 100, 64) < 100
    assert equal_work(20, 100, 10**6) == 20  # where the matrices decide


def test_the_time_left_counts_each_kind_of_step() -> None:
    cost = CostModel()
    cost.observe_prepare(workload(), 1.0)
    for _ in range(TRUSTED):
        cost.observe_step([workload()], 8.0)
        cost.observe_step([workload()], 3.0, full=False)
    left = cost.left(workload())
    assert left is not None
    assert left.seconds == pytest.approx(1 + 2 * 8 + 2 * 3)
    later = cost.left(workload(), prepared=True, steps_done=2)
    assert later is not None
    assert later.seconds == pytest.approx(3 + 8)


def test_region_steps_are_expected_to_be_cheap_before_one_was_measured() -> None:
    cost = CostModel()
    cost.observe_step([workload()], 8.0)
    assert cost.step_seconds(workload(), 1, full=False) == pytest.approx(8 * 25 / 100)
    assert cost.step_seconds(workload(), 1) == pytest.approx(8)


def test_whether_a_batch_pays_is_known_for_each_kind_of_step() -> None:
    cost = CostModel()
    for _ in range(TRUSTED):
        for full, alone, two in ((True, 8.0, 16.0), (False, 3.0, 4.0)):
            cost.observe_step([workload()], alone, full=full)
            cost.observe_step([workload(), workload()], two, full=full)
    assert not cost.batch_pays(workload(), 2)
    assert cost.batch_pays(workload(), 2, full=False)
    assert cost.share(workload(), 2) == pytest.approx(4 / 6)  # an admission must not expect more than that
    cost.forbid_batch(workload(), 2, full=False)
    assert not cost.batch_pays(workload(), 2, full=False)


def test_an_answer_tells_how_many_of_its_steps_were_full() -> None:
    before = sample("imgedit_engine_region_steps_total", "told")
    done = with_engine(Clockwork(), lambda e: finish(e, Task("a", steps=4, region=SPARSE)), name="told")
    assert (done.steps_run, done.full_steps) == (4, 2)
    assert sample("imgedit_engine_region_steps_total", "told") - before == 2
    plain = with_engine(Clockwork(), lambda e: finish(e, Task("a", steps=4)))
    assert (plain.steps_run, plain.full_steps) == (4, 4)


def job(number: int, *, done: int, region: RegionSteps | None = SPARSE) -> Job[Any, Any]:
    """A job under way that has done so many of its steps."""
    made: Job[Any, Any] = Job(
        spec=None,
        workload=workload(region),
        number=number,
        entered=0.0,
        deadline=None,
        due=float(number),
        preview_every=0,
        loop=None,  # type: ignore[arg-type]
    )
    made.steps_done, made.state = done, "prepared" if done else None
    return made


def batching() -> JobOrder:
    """A schedule that knows that steps of two take hardly longer than steps of one."""
    cost = CostModel()
    for _ in range(TRUSTED):
        for full in (True, False):
            cost.observe_step([workload()], 1.0, full=full)
            cost.observe_step([workload(), workload()], 1.1, full=full)
    return JobOrder(cost, max_batch=2)


def test_only_steps_of_one_kind_share_a_forward() -> None:
    region, other_region, full = job(0, done=1), job(1, done=2), job(2, done=3)
    assert batching().batch(region, [region, full, other_region]) == [region, other_region]
    assert batching().batch(full, [full, region, other_region]) == [full]


def test_a_waiting_job_is_prepared_to_step_along_only_with_a_full_step() -> None:
    waiting, region, full = job(0, done=0), job(1, done=1), job(2, done=3)
    assert batching().recruit(full, [full, waiting]) is waiting
    assert batching().recruit(region, [region, waiting]) is None


def test_jobs_whose_keys_do_not_fit_together_run_one_after_another() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        tasks = [Task(name, steps=4, region=SPARSE) for name in ("a", "b")]
        await asyncio.gather(*(finish(engine, task) for task in [*tasks, Task("free", steps=1)]))

    with_engine(model, scenario, max_kept_bytes=100, name="rooms")
    of_keepers = [entry.split()[1] for entry in model.log if not entry.endswith("free")]
    assert of_keepers in (["a"] * 6 + ["b"] * 6, ["b"] * 6 + ["a"] * 6)
    assert sample("imgedit_engine_kept_bytes", "rooms") == 0


def test_a_small_job_does_not_take_the_room_that_a_large_one_waits_for() -> None:
    large, small = (RegionSteps((True, False, False, True), tokens=25, kept_bytes=size) for size in (90, 20))
    under_way, first, behind, free = (
        job(0, done=1),
        job(1, done=0, region=large),
        job(2, done=0, region=small),
        job(3, done=0, region=None),
    )
    room = Room(kept_bytes=100, part_bytes=0)
    assert room.with_room([under_way, first, behind, free], [under_way]) == [under_way, free]
    assert room.with_room([first, behind, free], []) == [first, free]


def with_parts(number: int, *keys: str, done: int = 0) -> Job[Any, Any]:
    """A job without region steps that needs parts of 40 bytes."""
    made = job(number, done=done, region=None)
    made.workload = replace(made.workload, parts=frozenset(Part(key, 40) for key in keys))
    return made


def test_a_job_waits_until_its_parts_fit_beside_those_of_running_jobs() -> None:
    room = Room(kept_bytes=0, part_bytes=100)
    running, also = with_parts(0, "a", done=1), with_parts(1, "b", done=1)
    same, other, behind, free = (
        with_parts(2, "a", "b"),
        with_parts(3, "c"),
        with_parts(4, "a"),
        job(5, done=0, region=None),
    )
    assert room.with_room([running, also, same], [running, also]) == [running, also, same]
    assert room.with_room([running, also, other, behind, free], [running, also]) == [running, also, free]
    assert room.with_room([running, other], [running]) == [running, other]
    large = with_parts(6, "a", "b", "c")
    assert room.with_room([running, large], [running]) == [running]
    assert room.with_room([large, behind], []) == [large]


def test_jobs_with_parts_that_do_not_fit_together_run_one_after_another() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        tasks = [Task(key, steps=4, parts=frozenset({Part(key, 60)})) for key in ("a", "b")]
        await asyncio.gather(*(finish(engine, task) for task in [*tasks, Task("free", steps=1)]))

    with_engine(model, scenario, max_part_bytes=100)
    of_holders = [entry.split()[1] for entry in model.log if not entry.endswith("free")]
    assert of_holders in (["a"] * 6 + ["b"] * 6, ["b"] * 6 + ["a"] * 6)


def test_jobs_whose_keys_fit_together_are_under_way_together() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        first = asyncio.ensure_future(finish(engine, Task("first", steps=4, region=SPARSE)))
        events = engine.run_job(Task("urgent", steps=4, region=SPARSE), deadline=time.monotonic() + 100)
        assert isinstance(await anext(events), Queued)
        model.gate.set()
        assert [event async for event in events]
        await first

    with_engine(model, scenario, max_kept_bytes=120)
    assert model.log.index("prepare urgent") < model.log.index("decode first")


def test_a_job_alone_begins_whatever_it_keeps() -> None:
    done = with_engine(Clockwork(), lambda e: finish(e, Task("a", steps=4, region=SPARSE)), max_kept_bytes=1)
    assert done.full_steps == 2
