"""An edit's progress as EditEvents: stages, queues, steps, previews."""

from __future__ import annotations

from collections.abc import Callable

from imgedit.inference.v1 import steps_pb2
from imgedit.v1 import edit_pb2, progress_pb2
from services.orchestrator.backends.clients import OnProgress

SendEvent = Callable[[edit_pb2.EditEvent], None]


class ProgressEvents:
    """Turns the progress of one result's chain into events.

    index: the result's place, from 0.
    """

    def __init__(self, send: SendEvent, request_id: str, index: int = 0) -> None:
        self._send_event = send
        self._request_id = request_id
        self._index = index
        self._stages: dict[str, edit_pb2.StageStarted] = {}

    def on_stage(self, name: str, index: int, count: int) -> None:
        """Report that a stage begins."""
        self._stages[name] = edit_pb2.StageStarted(name=name, index=index, count=count)
        self._send(stage=self._stages[name])

    def on_progress(self, stage: str) -> OnProgress:
        """The listener for a stage's reports.

        A stage that restarts is reported as one that begins.
        """

        def listen(
            *,
            queued: progress_pb2.Queued | None = None,
            progress: steps_pb2.Progress | None = None,
            preview: progress_pb2.Preview | None = None,
            restarted: bool = False,
        ) -> None:
            self._send(
                stage=self._stages[stage] if restarted else None,
                queued=queued,
                preview=preview,
                progress=_of_stage(stage, progress),
            )

        return listen

    def _send(
        self,
        *,
        stage: edit_pb2.StageStarted | None = None,
        queued: progress_pb2.Queued | None = None,
        progress: edit_pb2.StageProgress | None = None,
        preview: progress_pb2.Preview | None = None,
    ) -> None:
        self._send_event(
            edit_pb2.EditEvent(
                stage=stage,
                queued=queued,
                progress=progress,
                preview=preview,
                request_id=self._request_id,
                index=self._index,
            )
        )


def _of_stage(stage: str, progress: steps_pb2.Progress | None) -> edit_pb2.StageProgress | None:
    if progress is None:
        return None
    eta = progress.eta_seconds if progress.HasField("eta_seconds") else None
    return edit_pb2.StageProgress(stage=stage, step=progress.step, steps=progress.steps, eta_seconds=eta)
