"""Retry calls after UNAVAILABLE only: the server was lost or is starting.

A repeated edit keeps its request id, so the server joins it to a running one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from imgedit.errors import ServiceUnavailable, TooManyEdits

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0


async def retried(call: Callable[[float | None], Awaitable[T]], *, retries: int, timeout: float | None) -> T:
    """Retry `call(seconds left)` within `timeout` seconds; None = no limit.

    Errors that are retried: `ServiceUnavailable` and `TooManyEdits`.

    After `ServiceUnavailable` up to `retries` more times, with waits of 0.5 s, 1 s, 2 s … to 8 s, each shortened by up
    to half at random so that callers do not come back all at once, or as long as the server asks for. After
    `TooManyEdits` as often as there is time, each time after the wait that the server asks for. `retries` 0 = nothing
    is called again. Raises the last error where no time is left for another call.
    """
    ends_at = float("inf") if timeout is None else time.monotonic() + timeout
    lost = full = 0
    while True:
        try:
            return await call(None if timeout is None else ends_at - time.monotonic())
        except ServiceUnavailable as error:
            wait = max(wait_seconds(lost), error.retry_after_seconds or 0)
            lost += 1
            if lost > retries or time.monotonic() + wait >= ends_at:
                raise
        except TooManyEdits as error:
            wait = error.retry_after_seconds or wait_seconds(full)
            full += 1
            if not retries or time.monotonic() + wait >= ends_at:
                raise
        await asyncio.sleep(wait)


def wait_seconds(attempt: int) -> float:
    """The delay before the retry after attempt number `attempt`, from 0."""
    longest: float = min(FIRST_WAIT_SECONDS * 2**attempt, LONGEST_WAIT_SECONDS)
    return longest * random.uniform(0.5, 1)
