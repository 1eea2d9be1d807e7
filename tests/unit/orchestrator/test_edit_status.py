"""The state of a running edit, from the events that it has reported so far."""

from __future__ import annotations

import asyncio

import pytest

from imgedit.errors import EditCancelled, ImgeditError, InvalidArgument, from_status
from imgedit.v1 import edit_pb2, progress_pb2
from services.orchestrator.edits import edit_status

QUEUED, RUNNING = edit_pb2.EDIT_STATE_QUEUED, edit_pb2.EDIT_STATE_RUNNING
STAGE = edit_pb2.EditEvent(stage=edit_pb2.StageStarted(name="fill", index=3, count=4))
WAITS = edit_pb2.EditEvent(queued=progress_pb2.Queued(position=2))
STEP = edit_pb2.EditEvent(progress=edit_pb2.StageProgress(stage="fill", step=5, steps=28))
PREVIEW = edit_pb2.EditEvent(preview=progress_pb2.Preview(image=b"x"))


@pytest.mark.parametrize(
    ("events", "state", "told"),
    [
        ([], QUEUED, set()),
        ([STAGE], RUNNING, {"stage"}),
        ([STAGE, WAITS], QUEUED, {"stage", "queued"}),
        ([STAGE, WAITS, STEP], RUNNING, {"stage", "progress"}),
        ([STAGE, WAITS, STEP, PREVIEW], RUNNING, {"stage", "progress"}),
        ([STAGE, STEP, STAGE], RUNNING, {"stage"}),
    ],
)
def test_the_state_is_that_of_the_last_report(
    events: list[edit_pb2.EditEvent], state: edit_pb2.EditState, told: set[str]
) -> None:
    found = edit_status.running_edit("one", events)
    assert (found.request_id, found.state) == ("one", state)
    assert {field.name for field, _ in found.ListFields()} == {"request_id", "state", *told}


@pytest.mark.parametrize(
    ("raised", "state", "reason"),
    [
        (InvalidArgument.field("steps", "must be 10 to 50, is 9"), edit_pb2.EDIT_STATE_FAILED, "INVALID_FIELD"),
        (EditCancelled("the edit was cancelled"), edit_pb2.EDIT_STATE_CANCELLED, "CANCELLED"),
        (KeyError("a secret"), edit_pb2.EDIT_STATE_FAILED, "INTERNAL"),
        (asyncio.CancelledError(), edit_pb2.EDIT_STATE_CANCELLED, "CANCELLED"),
    ],
)
async def test_an_end_is_told_as_its_call_ended(raised: BaseException, state: edit_pb2.EditState, reason: str) -> None:
    async def work() -> edit_pb2.EditResponse:
        raise raised

    task = asyncio.create_task(work())
    await asyncio.wait({task})
    found = edit_status.ended_edit("one", task)
    error = from_status(found.error)
    assert (found.state, error.reason, error.request_id) == (state, reason, "one")
    assert isinstance(raised, ImgeditError) or "secret" not in str(found)
