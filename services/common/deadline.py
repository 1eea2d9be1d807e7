"""Deadlines of calls, on the `time.monotonic` clock."""

from __future__ import annotations

import time
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]


def of(context: Context) -> float | None:
    """When the caller's time is over; None where it set no deadline."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + remaining
