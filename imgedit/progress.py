"""The progress of an edit, from the events of its stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """An event listener that reports every change to `on_progress`.

    Several results are reported together.
    """
    results: dict[int, Progress] = {0: Progress()}
    told = Progress()

    def listen(event: edit_pb2.EditEvent) -> None:
        nonlocal told
        before = results.get(event.index, results[0] if event.index else Progress())
        results[event.index] = before.after(event)
        now = together(list(results.values()))
        if now != told:
            told = now
            on_progress(told)

    return listen


def together(results: Sequence[Progress]) -> Progress:
    """The progress of several results.

    The stage of the last, the steps of all at that stage, and the latest end.
    """
    last = min(results, key=lambda one: one.index)
    there = [one for one in results if one.index == last.index]
    waiting = [one.waiting for one in there if one.waiting is not None]
    ends = [one.eta_seconds for one in there if one.eta_seconds is not None]
    return replace(
        last,
        step=sum(one.step for one in there),
        steps=sum(one.steps for one in there),
        waiting=min(waiting) if len(waiting) == len(there) else None,
        eta_seconds=max(ends) if ends else None,
    )
