"""The state of an edit for GetEdit, from its events or its end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from imgedit.errors import EditCancelled, ServiceUnavailable
from imgedit.v1 import edit_pb2
from services.common import calls


def running_edit(request_id: str, events: Iterable[edit_pb2.EditEvent]) -> edit_pb2.GetEditResponse:
    """The state after these events.

    QUEUED while the latest event is from a model service's queue.
    """
    found = edit_pb2.GetEditResponse(request_id=request_id, state=edit_pb2.EDIT_STATE_QUEUED)
    for event in events:
        if event.index:
            continue  # the first result stands for all
        match event.WhichOneof("event"):
            case "stage":
                found.state = edit_pb2.EDIT_STATE_RUNNING
                found.stage.CopyFrom(event.stage)
                found.ClearField("queued")
                found.ClearField("progress")
            case "queued":
                found.state = edit_pb2.EDIT_STATE_QUEUED
                found.queued.CopyFrom(event.queued)
            case "progress":
                found.state = edit_pb2.EDIT_STATE_RUNNING
                found.progress.CopyFrom(event.progress)
                found.ClearField("queued")
    return found


def ended_edit(request_id: str, task: asyncio.Task[edit_pb2.EditResponse]) -> edit_pb2.GetEditResponse:
    """The state of an edit whose task is done, without its answer."""
    error = EditCancelled("the edit was cancelled") if task.cancelled() else task.exception()
    if error is None:
        return edit_pb2.GetEditResponse(request_id=request_id, state=edit_pb2.EDIT_STATE_SUCCEEDED)
    state = edit_pb2.EDIT_STATE_CANCELLED if isinstance(error, EditCancelled) else edit_pb2.EDIT_STATE_FAILED
    return edit_pb2.GetEditResponse(request_id=request_id, state=state, error=calls.status_of(error, request_id))


def lost_edit(request_id: str) -> edit_pb2.GetEditResponse:
    """The state of an edit whose orchestrator no longer lives."""
    error = ServiceUnavailable(
        "the orchestrator that ran this edit is gone; send the request again",
        korean="작업을 실행하던 서버가 종료되었습니다. 요청을 다시 보내 주세요.",
    )
    status = calls.status_of(error, request_id)
    return edit_pb2.GetEditResponse(request_id=request_id, state=edit_pb2.EDIT_STATE_FAILED, error=status)
