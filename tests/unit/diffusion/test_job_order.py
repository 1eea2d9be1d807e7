"""Which job runs when: deadlines, order, bounds, cancels.

The model is clockwork, so every quantum can be named.
"""

import asyncio
import itertools
import time
from typing import Any

import pytest

from imgedit.errors import DeadlineExceeded, EditCancelled, QueueFull, ServiceUnavailable, WouldMissDeadline
from services.diffusion.engine.engine import Engine
from services.diffusion.engine.events import Finished, Progress, Queued
from services.diffusion.engine.job import due_time
from services.diffusion.engine.job_order import Outlook
from tests.support.engine import Clockwork, Task, finish, with_engine

Jobs = Engine[Any, Any, Any]


async def submit(engine: Jobs, task: Task, **options: Any) -> "asyncio.Task[Finished[Any]]":
    """Start a job and come back once it is in the queue."""
    running = asyncio.create_task(finish(engine, task, **options))
    await asyncio.sleep(0.01)
    return running


def soon(seconds: float = 60.0) -> float:
    return time.monotonic() + seconds


def test_a_job_is_prepared_stepped_and_decoded_and_tells_so() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> list[Any]:
        return [event async for event in engine.run_job(Task("a", steps=2))]

    events = with_engine(model, scenario)
    assert [type(event) for event in events] == [Queued, Progress, Progress, Finished]
    assert [(event.step, event.steps) for event in events[1:3]] == [(1, 2), (2, 2)]
    assert events[-1].output == "a after 2"
    assert events[-1].steps_run == 2
    assert set(events[-1].timings) == {"queue", "prepare", "denoise", "decode"}
    assert model.log == ["prepare a", "step a", "step a", "decode a"]
    assert model.released == ["a"]


def test_no_steps_means_no_work() -> None:
    model = Clockwork()
    done = with_engine(model, lambda engine: finish(engine, Task("a", steps=0)))
    assert done.output == "a unchanged"
    assert model.log == []


def test_the_earliest_deadline_goes_first_even_when_it_came_last() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        late = await submit(engine, Task("late"), deadline=soon(100))
        early = await submit(engine, Task("early"), deadline=soon(50))
        model.gate.set()
        await asyncio.gather(late, early)

    with_engine(model, scenario)
    assert model.log.index("decode early") < model.log.index("step late")


def test_an_urgent_job_waits_for_one_step_at_most() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        long = await submit(engine, Task("long", steps=50, seconds=0.02), deadline=soon(100))
        await model.reached("step long")
        before = model.log.count("step long")
        await finish(engine, Task("urgent", steps=2), deadline=soon(60))
        long.cancel()
        first = model.log.index("prepare urgent")
        # The submission is not an instant: a step or two more may begin before the loop continues.
        assert model.log[:first].count("step long") <= before + 3

    with_engine(model, scenario)
    first = model.log.index("prepare urgent")
    assert model.log[first : first + 4] == ["prepare urgent", "step urgent", "step urgent", "decode urgent"]


def test_without_deadlines_equal_jobs_run_in_order_of_arrival() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        jobs = [await submit(engine, Task(name)) for name in "abc"]
        model.gate.set()
        await asyncio.gather(*jobs)

    with_engine(model, scenario)
    assert [entry for entry in model.log if entry.startswith("decode")] == ["decode a", "decode b", "decode c"]


def test_a_short_job_overtakes_a_long_one_but_an_endless_stream_of_them_does_not_starve_it() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("measure", steps=2, seconds=0.005))
        long = await submit(engine, Task("long", steps=30, seconds=0.005))
        names = itertools.count()
        waiting: list[asyncio.Task[Any]] = []
        while not long.done():
            waiting = [short for short in waiting if not short.done()]
            if len(waiting) < 20:  # as many as never run out; more would only take the scheduler's time
                waiting.append(await submit(engine, Task(f"short{next(names)}", steps=5, seconds=0.005)))
            else:
                await asyncio.sleep(0.005)
        for short in waiting:
            short.cancel()

    with_engine(model, scenario)
    finished = [entry.split()[1] for entry in model.log if entry.startswith("decode")]
    assert finished.index("short0") < finished.index("long")


def test_a_job_without_a_deadline_is_due_at_a_fixed_time_after_its_entry() -> None:
    assert due_time(100.0, 107.0, 3.0) == 107.0
    assert due_time(100.0, None, 1.0) < due_time(100.0, None, 5.0) < due_time(130.0, None, 1.0)


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> QueueFull:
        model.gate.clear()
        jobs = [await submit(engine, Task(name)) for name in "ab"]
        with pytest.raises(QueueFull) as caught:
            await finish(engine, Task("c"))
        model.gate.set()
        await asyncio.gather(*jobs)
        await finish(engine, Task("d"))
        return caught.value

    refusal = with_engine(model, scenario, max_jobs=2)
    assert refusal.retry_after_seconds is not None
    assert refusal.retry_after_seconds > 0
    assert "prepare c" not in model.log


def test_the_queue_is_bounded_in_bytes_but_takes_any_single_job() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        big = await submit(engine, Task("big", nbytes=500))
        with pytest.raises(QueueFull):
            await finish(engine, Task("small", nbytes=1))
        model.gate.set()
        await big

    with_engine(model, scenario, max_bytes=100)


def test_a_cancel_ends_the_job_at_the_next_step_edge_and_nothing_is_decoded() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        events = engine.run_job(Task("a", steps=100, seconds=0.01))
        async for event in events:
            if isinstance(event, Progress) and event.step == 3:
                break
        begun = model.log.count("step a")
        await events.aclose()
        assert model.log.count("step a") <= begun + 1
        await finish(engine, Task("b", steps=1))

    with_engine(model, scenario)
    assert 3 <= model.log.count("step a") < 100
    assert "decode a" not in model.log
    assert model.released == ["a", "b"]


@pytest.mark.parametrize("quantum", ["prepare", "step", "decode"])
def test_cancelling_the_task_works_in_every_phase(quantum: str) -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        job = await submit(engine, Task("a", steps=2, seconds=0.02))
        await model.reached(f"{quantum} a")
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert (await finish(engine, Task("b", steps=1))).output == "b after 1"

    with_engine(model, scenario)
    assert "decode b" in model.log


def test_a_waiting_job_that_is_cancelled_never_starts() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        first = await submit(engine, Task("first"))
        waiting = await submit(engine, Task("waiting"))
        waiting.cancel()
        await asyncio.sleep(0.01)
        model.gate.set()
        await first

    with_engine(model, scenario)
    assert "prepare waiting" not in model.log


def test_a_deadline_that_passes_ends_the_job_without_decoding() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(DeadlineExceeded):
            await finish(engine, Task("a", steps=1000, seconds=0.01), deadline=soon(0.1))

    with_engine(model, scenario)
    assert "decode a" not in model.log
    assert model.log.count("step a") < 30


def test_a_deadline_in_the_past_is_refused_at_once() -> None:
    async def scenario(engine: Jobs) -> None:
        with pytest.raises(DeadlineExceeded):
            await finish(engine, Task("a"), deadline=soon(-1))

    model = Clockwork()
    with_engine(model, scenario)
    assert model.log == []


def test_a_job_that_cannot_meet_its_deadline_is_refused_before_any_work() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("measure", steps=5, seconds=0.02))
        with pytest.raises(WouldMissDeadline):
            await finish(engine, Task("hopeless", steps=500, seconds=0.02), deadline=soon(1))
        await finish(engine, Task("fine", steps=5, seconds=0.02), deadline=soon(5))

    with_engine(model, scenario)
    assert "prepare hopeless" not in model.log


def test_waiting_jobs_learn_their_position_and_eta() -> None:
    model = Clockwork()
    seen: list[tuple[int, float | None]] = []

    async def watch(engine: Jobs) -> None:
        events = [event async for event in engine.run_job(Task("c", steps=3, seconds=0.02))]
        seen.extend((event.position, event.eta_seconds) for event in events if isinstance(event, Queued))

    async def scenario(engine: Jobs) -> None:
        await finish(engine, Task("measure", steps=3, seconds=0.02))
        model.gate.clear()
        others = [await submit(engine, Task(name, steps=3, seconds=0.02)) for name in "ab"]
        watching = asyncio.create_task(watch(engine))
        await asyncio.sleep(0.01)
        model.gate.set()
        await asyncio.gather(*others, watching)

    with_engine(model, scenario)
    assert [position for position, _ in seen] == [2, 1, 0]
    first, *_, last = [eta for _, eta in seen]
    assert first is not None
    assert last is not None
    assert first > last > 0


def test_closing_finishes_what_is_there_and_takes_no_more() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        job = await submit(engine, Task("a", steps=5, seconds=0.02))
        closing = asyncio.create_task(engine.aclose())
        await asyncio.sleep(0.01)
        with pytest.raises(ServiceUnavailable):
            await finish(engine, Task("b"))
        await closing
        assert (await job).output == "a after 5"
        assert not engine.alive

    with_engine(model, scenario)


def test_a_cancelled_job_reports_so_to_whoever_still_listens() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        running = await submit(engine, Task("a", steps=100, seconds=0.01))
        engine._jobs[0].cancelled = True
        with pytest.raises(EditCancelled):
            await running

    with_engine(model, scenario)


def test_the_outlook_of_a_job_is_what_the_queue_would_tell_it() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        assert engine.outlook(Task("new")) == Outlook(0, 0.0, None)
        await finish(engine, Task("first", steps=2, seconds=0.01))
        alone = engine.outlook(Task("new", steps=4, seconds=0.01))
        needed = engine.cost.left(model.workload(Task("new", steps=4)))
        assert alone == Outlook(0, 0.0, needed.seconds)
        model.gate.clear()
        runs = await submit(engine, Task("runs", steps=2, seconds=0.01), deadline=soon())
        waits = await submit(engine, Task("waits", steps=2, seconds=0.01), deadline=soon())
        last = engine.outlook(Task("new", steps=4, seconds=0.01), deadline=soon(90))
        urgent = engine.outlook(Task("new", steps=4, seconds=0.01), deadline=soon(30))
        assert (last.position, urgent.position) == (2, 0)
        assert last.queue_seconds > 0
        assert urgent.queue_seconds == 0
        assert engine.outlook(Task("none", steps=0)) == Outlook(0, 0.0, 0.0)
        model.gate.set()
        await asyncio.gather(runs, waits)

    with_engine(model, scenario)
    assert not any("new" in line for line in model.log)


def test_a_closed_engine_has_no_outlook() -> None:
    async def scenario(engine: Jobs) -> None:
        await engine.aclose()
        with pytest.raises(ServiceUnavailable):
            engine.outlook(Task("new"))

    with_engine(Clockwork(), scenario)
