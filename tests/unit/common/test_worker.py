"""The queue before the device: bounded, and nothing runs that nobody waits for."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import REGISTRY

from imgedit.errors import DeadlineExceeded, QueueFull, ServiceUnavailable
from services.common.worker import DeviceLost, Worker


@asynccontextmanager
async def busy_worker(*, max_waiting: int = 2) -> AsyncIterator[tuple[Worker, Callable[[], None]]]:
    """A worker whose thread a first job blocks until the returned function is called."""
    worker = Worker("test", max_waiting=max_waiting)
    begun, gate = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(begun.set)
        gate.wait(10)

    first = asyncio.create_task(worker.run(hold))
    await begun.wait()
    try:
        yield worker, gate.set
    finally:
        gate.set()
        await first
        worker.close()


def depth() -> float | None:
    return REGISTRY.get_sample_value("imgedit_queue_depth", {"service": "test"})


async def test_work_runs_on_one_thread_that_is_not_the_event_loops() -> None:
    worker = Worker("test", max_waiting=9)
    threads = {await worker.run(threading.get_ident) for _ in range(3)}
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    worker.close()


async def test_first_come_first_served() -> None:
    order: list[int] = []
    async with busy_worker(max_waiting=5) as (worker, go):
        waiting = [asyncio.create_task(worker.run(lambda i=i: order.append(i))) for i in range(5)]
        await asyncio.sleep(0)
        assert depth() == 5
        go()
        await asyncio.gather(*waiting)
    assert order == [0, 1, 2, 3, 4]
    assert depth() == 0


async def test_a_full_queue_refuses_at_once_and_says_when_to_retry() -> None:
    async with busy_worker(max_waiting=2) as (worker, _):
        waiting = [asyncio.create_task(worker.run(lambda: None)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFull, match="2 jobs wait already") as caught:
            await worker.run(lambda: None)
        assert caught.value.retry_after_seconds
        assert caught.value.retry_after_seconds >= 1
        for task in waiting:
            task.cancel()


async def test_work_whose_deadline_passed_while_it_waited_is_never_run() -> None:
    ran: list[int] = []
    async with busy_worker() as (worker, go):
        past = asyncio.create_task(worker.run(lambda: ran.append(1), deadline=lambda: time.monotonic() - 1))
        in_time = asyncio.create_task(worker.run(lambda: ran.append(2), deadline=lambda: time.monotonic() + 9))
        await asyncio.sleep(0)
        go()
        with pytest.raises(DeadlineExceeded, match="nothing was computed"):
            await past
        await in_time
    assert ran == [2]


async def test_cancelled_work_is_never_run_and_its_place_is_free_at_once() -> None:
    ran: list[int] = []
    async with busy_worker(max_waiting=1) as (worker, go):
        left = asyncio.create_task(worker.run(lambda: ran.append(1)))
        await asyncio.sleep(0)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        assert depth() == 0
        stayed = asyncio.create_task(worker.run(lambda: ran.append(2)))
        await asyncio.sleep(0)
        go()
        await stayed
    assert ran == [2]


async def test_cancelling_work_that_runs_lets_the_next_one_run() -> None:
    async with busy_worker() as (worker, go):
        begun, end = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def work() -> None:
            loop.call_soon_threadsafe(begun.set)
            end.wait(10)

        running = asyncio.create_task(worker.run(work))
        go()
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        end.set()
        assert await worker.run(lambda: "next") == "next"


async def test_an_error_reaches_its_caller_and_the_worker_goes_on() -> None:
    worker = Worker("test", max_waiting=1)

    def fail() -> None:
        raise KeyError("mask")

    with pytest.raises(KeyError, match="mask"):
        await worker.run(fail)
    assert await worker.run(lambda: 3) == 3
    worker.close()


async def test_closing_ends_the_thread_after_what_waits() -> None:
    async with busy_worker() as (worker, go):
        last = asyncio.create_task(worker.run(lambda: "done"))
        await asyncio.sleep(0)
        worker.close()
        with pytest.raises(ServiceUnavailable, match="stopping"):
            await worker.run(lambda: None)
        go()
        assert await last == "done"
        await asyncio.to_thread(worker._thread.join, 5)
        assert not worker._thread.is_alive()


async def test_after_a_lost_device_nothing_is_run_and_those_who_wait_are_told_to_ask_again() -> None:
    ran: list[str] = []

    def lose() -> None:
        raise DeviceLost("an illegal memory access")

    async with busy_worker(max_waiting=3) as (worker, let_go):
        waiting = [asyncio.create_task(worker.run(work)) for work in (lose, lambda: ran.append("b"))]
        await asyncio.sleep(0.01)
        let_go()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.wait_for(worker.ended_by_itself(), 10)
        with pytest.raises(ServiceUnavailable):
            await worker.run(lambda: ran.append("c"))
    assert [type(outcome) for outcome in outcomes] == [DeviceLost, ServiceUnavailable]
    assert not ran
