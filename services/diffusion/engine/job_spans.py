"""The spans of one job below its call: prepare, denoise, decode, one each.

All denoise steps share one span. Between steps the device may work for other jobs, so the span also records its time
for this one. Created only when tracing is on.
"""

from __future__ import annotations

from services.common import tracing
from services.common.tracing import Span


class JobSpans:
    """The spans of one job, children of `parent`, for the worker thread.

    skipped: forwards that a step cache has answered.
    """

    def __init__(self, parent: Span, steps: int) -> None:
        self.skipped = 0
        self._parent = parent
        self._steps = steps
        self._name = ""
        self._open: Span | None = None
        self._batch_sizes: list[int] = []
        self._seconds = 0.0

    @classmethod
    def of_current_call(cls, steps: int) -> JobSpans | None:
        """The job's spans; None if the call is not traced."""
        parent = tracing.current()
        return None if parent is None else cls(parent, steps)

    def begin(self, name: str) -> None:
        """Begin or resume a phase."""
        if name != self._name:
            self._name, self._batch_sizes, self._seconds = name, [], 0.0
            self._open = tracing.begin(name, self._parent)

    def work_done(self, seconds: float, jobs: int) -> None:
        """Record finished work of the phase, or one step of it, for this batch size."""
        self._seconds += seconds
        self._batch_sizes.append(jobs)
        if self._name != "denoise" or len(self._batch_sizes) == self._steps:
            self._end()

    def close(self, error: Exception | None) -> None:
        """End the spans; with an error, inside a phase or between two."""
        if error is not None and self._open is not None:
            self._open.fail(*tracing.code_and_reason(error))
        self._end()

    def _end(self) -> None:
        span, self._open = self._open, None
        if span is None:
            return
        span.note(device_seconds=round(self._seconds, 6))
        if self._name == "denoise":
            sizes = tuple(self._batch_sizes)
            span.note(steps=self._steps, steps_run=len(sizes), batch_sizes=sizes, skipped_forwards=self.skipped)
        span.end()
