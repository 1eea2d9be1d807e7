"""Caller and deadline of the current call."""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any

import grpc

Context = grpc.aio.ServicerContext[Any, Any]

caller: ContextVar[str] = ContextVar("caller", default="anonymous")
"""The name of the credential that the current call came with; "anonymous" where the server asks for none."""


LONGEST_SECONDS = 86_400.0
"""Of a deadline. gRPC counts in nanoseconds, and one of 300 years has passed already when it is handed on."""


def deadline_of(context: Context) -> float | None:
    """The caller's deadline on the `time.monotonic` clock; None if unset."""
    remaining = context.time_remaining()
    return None if remaining is None else time.monotonic() + min(remaining, LONGEST_SECONDS)
