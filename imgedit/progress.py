"""The progress of an edit, from the events of its stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from imgedit.v1 import edit_pb2


@dataclass(frozen=True)
class Progress:
    """The progress of an edit.

    stage: its kind, "" before the first; it is number `index` of `count`. step, steps: denoise steps done and total, 0
    and 0 without any. waiting: jobs ahead at the model service, None = not waiting. eta_seconds: until the end of the
    stage, None = unknown.
    """

    stage: str = ""
    index: int = 0
    count: int = 0
    step: int = 0
    steps: int = 0
    waiting: int | None = None
    eta_seconds: float | None = None

    def after(self, event: edit_pb2.EditEvent) -> Progress:
        """The progress after `event`."""
        match event.WhichOneof("event"):
            case "stage":
                return Progress(event.stage.name, event.stage.index, event.stage.count)
            case "queued":
                eta = event.queued.eta_seconds if event.queued.HasField("eta_seconds") else None
                return replace(self, waiting=event.queued.position, eta_seconds=eta)
            case "progress":
                done = event.progress
                eta = done.eta_seconds if done.HasField("eta_seconds") else None
                return replace(self, stage=done.stage, step=done.step, steps=done.steps, waiting=None, eta_seconds=eta)
        return self


OnProgress = Callable[[Progress], None]


def listener(on_progress: OnProgress) -> Callable[[edit_pb2.EditEvent], None]:
    """An event listener that reports every change to `on_progress`."""
    now = Progress()

    def listen(event: edit_pb2.EditEvent) -> None:
        nonlocal now
        before, now = now, now.after(event)
        if now != before:
            on_progress(now)

    return listen
