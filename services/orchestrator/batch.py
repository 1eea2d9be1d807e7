"""Many pieces of work from one stream of requests, a bounded number at once, their events in one stream.

Knows nothing of what the requests and the events are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

R = TypeVar("R")
E = TypeVar("E")


async def merged(
    requests: AsyncIterator[R], run: Callable[[int, R], AsyncIterator[E]], *, limit: int
) -> AsyncGenerator[E]:
    """The events of `run(number, request)` for every request, numbered from 1, as they come.

    No request is read while `limit` are at work, and none counts as done before its last event was taken; so neither
    requests nor answers pile up. After the last request it ends when all are done; leaving early cancels them.
    """
    events: asyncio.Queue[E | Exception | None] = asyncio.Queue(maxsize=1)
    feeder = asyncio.create_task(_feed(requests, run, limit, events))
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
    events: asyncio.Queue[E | Exception | None],
) -> None:
    slots = asyncio.Semaphore(limit)

    async def work(number: int, request: R) -> None:
        try:
            async for event in run(number, request):
                await events.put(event)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as running:
            number = 0
            while True:
                await slots.acquire()
                try:
                    request = await anext(requests)
                except StopAsyncIteration:
                    break
                number += 1
                running.create_task(work(number, request))
        await events.put(None)
    except Exception as error:  # noqa: BLE001  # whatever it is, the reader of the events raises it
        await events.put(error)
