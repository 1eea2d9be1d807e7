"""Side tasks: small urgent work on the device's thread, between the steps of jobs."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from prometheus_client import REGISTRY

from imgedit.errors import DeadlineExceeded, InternalError, OutOfMemory, QueueFull, ServiceUnavailable
from services.diffusion.engine.engine import Engine
from tests.support.engine import Clockwork, Task, fill, fill_spec, finish, running, with_engine
from tests.unit.diffusion.test_engine_schedule import soon, submit

Jobs = Engine[Any, Any, Any]
ShouldStop = Callable[[], bool]


def side_tasks(name: str, outcome: str) -> float:
    labels = {"service": name, "outcome": outcome}
    return REGISTRY.get_sample_value("imgedit_engine_errands_total", labels) or 0.0


def until_told(log: list[str]) -> Callable[[ShouldStop], str]:
    """A side task that works until stopped, and records its start and end."""

    def work(should_stop: ShouldStop) -> str:
        log.append("begin")
        while not should_stop():
            time.sleep(0.001)
        log.append("stop")
        return "unfinished"

    return work


async def reached(log: list[str], entry: str) -> None:
    for _ in range(5000):
        if entry in log:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(f"{entry} was never reached: {log}")


def test_an_errand_gives_its_result_and_runs_on_the_worker_thread() -> None:
    async def scenario(engine: Jobs) -> str:
        return await engine.run_between_steps(lambda _: threading.current_thread().name)

    assert with_engine(Clockwork(), scenario, name="shop") == "shop-engine"
    assert side_tasks("shop", "finished") == 1
    assert REGISTRY.get_sample_value("imgedit_engine_errand_wait_seconds_count", {"service": "shop"}) == 1


def test_errands_run_before_the_next_step_of_any_job_the_earliest_deadline_first() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        job = await submit(engine, Task("job", steps=20, seconds=0.02), deadline=soon(1000))
        await model.reached("step job")
        model.gate.clear()
        sent = [
            asyncio.create_task(
                engine.run_between_steps(lambda _, name=name: model.log.append(name), deadline=soon(seconds))
            )
            for name, seconds in (("late side task", 5000), ("early side task", 2000))
        ]
        await asyncio.sleep(0.05)
        model.gate.set()
        await asyncio.gather(*sent)
        job.cancel()

    with_engine(model, scenario)
    first = model.log.index("early side task")
    assert model.log[first + 1] == "late side task"
    assert model.log[:first].count("step job") <= 3


def test_an_endless_stream_of_errands_does_not_stop_a_job() -> None:
    async def scenario(engine: Jobs) -> str:
        job = await submit(engine, Task("job", steps=10))

        async def pester() -> None:
            while not job.done():
                await engine.run_between_steps(lambda _: time.sleep(0.001))

        await asyncio.wait_for(asyncio.gather(*(pester() for _ in range(4))), 20)
        output: str = (await job).output
        return output

    assert with_engine(Clockwork(), scenario) == "job after 10"


def test_a_caller_who_leaves_ends_a_running_errand_and_takes_a_waiting_one_along() -> None:
    log: list[str] = []

    async def scenario(engine: Jobs) -> None:
        first = asyncio.create_task(engine.run_between_steps(until_told(log)))
        await reached(log, "begin")
        waiting = asyncio.create_task(engine.run_between_steps(lambda _: log.append("never")))
        await asyncio.sleep(0.01)
        for task in (waiting, first):
            task.cancel()
        await engine.run_between_steps(lambda _: log.append("next"))

    with_engine(Clockwork(), scenario, name="leavers")
    assert log == ["begin", "stop", "next"]
    assert side_tasks("leavers", "cancelled") == 2


def test_a_deadline_ends_a_running_errand_and_what_it_had_is_not_handed_out() -> None:
    log: list[str] = []

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(DeadlineExceeded):
            await engine.run_between_steps(until_told(log), deadline=soon(0.05))

    with_engine(Clockwork(), scenario, name="late")
    assert log == ["begin", "stop"]
    assert side_tasks("late", "deadline") == 1


def test_an_errand_whose_deadline_passes_while_it_waits_is_not_run() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        job = await submit(engine, Task("job"))
        side_task = asyncio.create_task(
            engine.run_between_steps(lambda _: model.log.append("side task"), deadline=soon(0.02))
        )
        await asyncio.sleep(0.05)
        model.gate.set()
        with pytest.raises(DeadlineExceeded):
            await side_task
        await job

    with_engine(model, scenario)
    assert "side task" not in model.log


def test_an_errand_that_fails_leaves_the_engine_working() -> None:
    def broken(_: ShouldStop) -> None:
        raise ValueError("a bug")

    def huge(_: ShouldStop) -> None:
        raise MemoryError

    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(ValueError, match="a bug"):
            await engine.run_between_steps(broken)
        with pytest.raises(OutOfMemory):
            await engine.run_between_steps(huge)
        assert await engine.run_between_steps(lambda _: "fine") == "fine"
        assert (await finish(engine, Task("job"))).output == "job after 3"

    with_engine(model, scenario, name="failing")
    assert model.log[0] == "free_memory"
    assert [side_tasks("failing", outcome) for outcome in ("failed", "out_of_memory", "finished")] == [1, 1, 1]


def test_errands_are_bounded_and_those_who_left_do_not_count() -> None:
    model = Clockwork()

    async def scenario(engine: Jobs) -> None:
        model.gate.clear()
        job = await submit(engine, Task("job"))
        waiting = [asyncio.create_task(engine.run_between_steps(lambda _: None)) for _ in range(2)]
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFull) as caught:
            await engine.run_between_steps(lambda _: None)
        assert caught.value.retry_after_seconds
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        last = asyncio.create_task(engine.run_between_steps(lambda _: "in"))
        await asyncio.sleep(0.01)
        model.gate.set()
        assert await last == "in"
        await asyncio.gather(job, waiting[1])

    with_engine(model, scenario, max_jobs=2, name="crowded")
    assert side_tasks("crowded", "refused_full") == 1


def test_closing_finishes_the_errands_that_are_there_and_takes_no_more() -> None:
    async def main() -> str:
        async with running(Clockwork()) as engine:
            job = await submit(engine, Task("job", seconds=0.02))
            side_task = asyncio.create_task(engine.run_between_steps(lambda _: "done"))
            await asyncio.sleep(0.005)
        with pytest.raises(ServiceUnavailable):
            await engine.run_between_steps(lambda _: None)
        await job
        return await side_task

    assert asyncio.run(main()) == "done"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_an_errand_of_a_worker_that_has_died() -> None:
    class Faulty(Clockwork):
        def is_out_of_memory(self, error: Exception) -> bool:
            raise AssertionError("a fault in the engine's own ground") from error

    def broken(_: ShouldStop) -> None:
        raise ValueError("a bug")

    async def scenario(engine: Jobs) -> None:
        with pytest.raises(InternalError):
            await engine.run_between_steps(broken)

    with_engine(Faulty(), scenario)


def test_a_jobs_numbers_are_the_same_with_errands_between_its_steps() -> None:
    def work(_: ShouldStop) -> torch.Tensor:
        weight = fill()._pipeline.text_encoder.get_input_embeddings().weight
        return torch.randn(8, weight.shape[0]) @ weight  # the device, the weights and the global seed are in use

    async def scenario(engine: Jobs) -> list[np.ndarray]:
        alone = (await finish(engine, fill_spec())).output
        job = asyncio.create_task(finish(engine, fill_spec()))
        while not job.done():
            await engine.run_between_steps(work)
        return [alone, (await job).output]

    alone, disturbed = with_engine(fill(), scenario)
    assert np.array_equal(alone, disturbed)
