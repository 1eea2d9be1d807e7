"""How far an edit is, put together from the events of its stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from imgedit.v1 import edit_pb2


@dataclass(frozen=True)
class Progress:
    """Where an edit is.

    stage: its kind, "" before the first; it is number `index` of `count`. step, steps: denoise steps done and to do, 0
    and 0 where the stage has none. waiting: jobs before this one at the model service, None where it does not wait.
    eta_seconds: until the stage is done, None where that is not known.
    """

    stage: str = ""
    index: int = 0
    count: int = 0
    step: int = 0
    steps: int = 0
    waiting: int | None = None
    eta_seconds: float | None = None

    def after(self, event: edit_pb2.EditEvent) -> Progress:
        """The progress once `event` has come."""
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
    """A listener for events that tells `on_progress` of every change."""
    now = Progress()

    def listen(event: edit_pb2.EditEvent) -> None:
        nonlocal now
        before, now = now, now.after(event)
        if now != before:
            on_progress(now)

    return listen
