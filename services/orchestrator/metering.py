"""Usage of each edit: duration metrics, and one line in the log `imgedit.usage`.

The line has caller, kind of edit, duration and device time; never a prompt or an image. Model services measure the
device time, summed over the stages. A stage without a response counts from its first finished step to its end.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from imgedit.errors import EditCancelled, ImgeditError, InternalError
from imgedit.v1 import progress_pb2
from services.common.call_context import caller
from services.orchestrator import metrics

DEVICE_PHASES = frozenset({"prepare", "denoise", "decode", "network", "generate"})
"""Timings of the model services that were spent on the device; the others are waiting and work of the CPU."""

_log = logging.getLogger("imgedit.usage")


@dataclass
class Usage:
    """The usage of one edit, filled in while it runs.

    `pixels`: of the input image.
    """

    experiment: str = "unknown"
    feature: str = "unknown"
    pixels: int = 0
    gpu_seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)


_current: ContextVar[Usage] = ContextVar("usage")


@contextmanager
def recorded() -> Iterator[Usage]:
    """Count and log one edit at its end, with the usage of its tasks."""
    usage = Usage()
    _current.set(usage)
    code = InternalError.code.name
    try:
        yield usage
        code = "OK"
    except ImgeditError as error:
        code = error.code.name
        raise
    except asyncio.CancelledError:
        code = EditCancelled.code.name
        raise
    finally:
        _record(usage, code)


def _record(usage: Usage, code: str) -> None:
    seconds = time.monotonic() - usage.started
    metrics.EDIT_SECONDS.labels(usage.experiment, usage.feature, code).observe(seconds)
    fields = {
        "caller": caller.get(),
        "experiment": usage.experiment,
        "feature": usage.feature,
        "outcome": code,
        "seconds": round(seconds, 4),
        "gpu_seconds": round(usage.gpu_seconds, 4),
        "pixels": usage.pixels,
    }
    _log.info("edit", extra=fields)


def took(pixels: int) -> None:
    """Record the size of the current edit's image."""
    _current.get(Usage()).pixels = pixels


def spent(timings: Iterable[progress_pb2.Timing]) -> None:
    """Add a model service's measurement to the current edit.

    Outside an edit it is dropped.
    """
    seconds = sum(timing.seconds for timing in timings if timing.name in DEVICE_PHASES)
    _current.get(Usage()).gpu_seconds += seconds


@dataclass
class Meter:
    """One call that reports steps and finally its measurements."""

    first_step: float | None = None
    is_measured: bool = False

    def stepped(self) -> None:
        """Record a finished step."""
        self.first_step = self.first_step or time.monotonic()

    def measured(self, timings: Iterable[progress_pb2.Timing]) -> None:
        """Record the response."""
        spent(timings)
        self.is_measured = True


@contextmanager
def metered() -> Iterator[Meter]:
    """Account for a call, even if it is cancelled or lost."""
    meter = Meter()
    try:
        yield meter
    finally:
        if meter.first_step is not None and not meter.is_measured:
            _current.get(Usage()).gpu_seconds += time.monotonic() - meter.first_step
