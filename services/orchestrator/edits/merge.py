"""Run the requests of one stream, a bounded number at once, into one event stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import TypeVar

from imgedit.errors import ImgeditError
from services.common import messages

R = TypeVar("R")
E = TypeVar("E")


async def merged(
    requests: AsyncIterator[R], run: Callable[[int, R], AsyncIterator[E]], *, limit: int, idle_seconds: float
) -> AsyncGenerator[E]:
    """The events of `run(number, request)` for every request, numbered from 1.

    At most `limit` requests are in progress, and a request is in progress until its last event is read, so neither
    requests nor responses pile up. The stream ends after the last request. Leaving early cancels running requests.
    Raises `DeadlineExceeded` if no request arrives for `idle_seconds` while none is in progress.
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
                except ImgeditError as error:  # a started request ends normally
                    fault = error
                    break
                number += 1
                at_work.add(number)
                running.create_task(work(number, request))
        await events.put(fault)
    except Exception as error:  # noqa: BLE001  # whatever it is, the reader of the events raises it
        await events.put(error)
