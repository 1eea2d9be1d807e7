"""Retry calls after UNAVAILABLE only: the server was lost or is starting.

A repeated edit keeps its request id, so the server joins it to a running one.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from imgedit.errors import ServiceUnavailable

T = TypeVar("T")

FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 8.0


async def retried(call: Callable[[float], Awaitable[T]], *, retries: int, timeout: float) -> T:
    """Await `call(seconds left)`, with up to `retries` after `ServiceUnavailable`.

    All within `timeout` seconds. Waits 0.5 s, 1 s, 2 s … to 8 s, each shortened by up to half at random, or as long as
    the server says. Raises the last error if no time is left.
    """
    ends_at = time.monotonic() + timeout
    for attempt in range(retries + 1):
        left = ends_at - time.monotonic()
        try:
            return await call(left)
        except ServiceUnavailable as error:
            wait = max(wait_seconds(attempt), error.retry_after_seconds or 0)
            if attempt == retries or time.monotonic() + wait >= ends_at:
                raise
        await asyncio.sleep(wait)
    raise AssertionError("the last attempt returns or raises")


def wait_seconds(attempt: int) -> float:
    """The delay before the retry after attempt number `attempt`, from 0."""
    longest: float = min(FIRST_WAIT_SECONDS * 2**attempt, LONGEST_WAIT_SECONDS)
    return longest * random.uniform(0.5, 1)
