"""Many pieces of work from one stream of requests, a bounded number at once, their events in one stream.

Knows nothing of what the requests and the events are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

from imgedit.errors import ImgeditError
from services.common import messages

R = TypeVar("R")
E = TypeVar("E")


async def merge_events(
    requests: AsyncIterator[R], run: Callable[[int, R], AsyncIterator[E]], *, limit: int, idle_seconds: float
) -> AsyncGenerator[E]:
    """The events of `run(number, request)` for every request, numbered from 1, as they come.

    No request is read while `limit` are at work, and none counts as done before its last event was taken; so neither
    requests nor answers pile up. After the last request it ends when all are done; leaving early cancels them.
    Raises `DeadlineExceeded` when none comes for `idle_seconds` while none is at work.
    """
    events: asyncio.Queue[E | Exception | None] = asyncio.Queue(maxsize=1)
    feeder = asyncio.create_task(_feed(requests, run, limit, idle_seconds, events))
    try:
        while (event := await events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event
    finally:
        feeder.cancel()


async def _feed(
    requests: AsyncIterator[R],
    run: Callable[[int, R], AsyncIterator[E]],
    limit: int,
    idle_seconds: float,
    events: asyncio.Queue[E | Exception | None],
) -> None:
    slots, at_work = asyncio.Semaphore(limit), set[int]()
    arriving = messages.until_idle(requests, idle_seconds, lambda: bool(at_work))

    async def work(number: int, request: R) -> None:
        try:
            async for event in run(number, request):
                await events.put(event)
        finally:
            at_work.discard(number)
            slots.release()

    fault: ImgeditError | None = None
    try:
        async with asyncio.TaskGroup() as running:
            number = 0
            while True:
                await slots.acquire()
                try:
                    request = await anext(arriving)
                except StopAsyncIteration:
                    break
                except ImgeditError as error:  # what has begun ends well before
                    fault = error
                    break
                number += 1
                at_work.add(number)
                running.create_task(work(number, request))
        await events.put(fault)
    except Exception as error:  # noqa: BLE001  # whatever it is, the reader of the events raises it
        await events.put(error)
