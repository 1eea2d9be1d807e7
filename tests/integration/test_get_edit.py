"""GetEdit over real gRPC: state, end, cached response, and access."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from imgedit import tokens
from imgedit.call_errors import error_of
from imgedit.errors import ImgeditError, InvalidArgument, RequestNotFound, from_status
from imgedit.v1 import edit_pb2

from .scripted import World, eventually, request, world

pytestmark = pytest.mark.slow


async def look_up(running: World, request_id: str, **options: object) -> edit_pb2.GetEditResponse:
    found = await running.stub.GetEdit(edit_pb2.GetEditRequest(request_id=request_id), **options)
    assert found.request_id == request_id
    return found


async def queued(running: World, request_id: str) -> edit_pb2.GetEditResponse:
    """Once the model service has said so."""
    async with asyncio.timeout(60):
        while not (found := await look_up(running, request_id)).HasField("queued"):  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.01)
    assert found.state == edit_pb2.EDIT_STATE_QUEUED
    return found


async def failure(call: object) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return error_of(caught.value, "here")


async def test_a_running_edit_tells_its_stage_and_then_its_answer() -> None:
    async with world() as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await running.fill.begun.wait()
        found = await queued(running, "one")
        assert (found.stage.name, found.stage.index, found.stage.count) == ("fill", 3, 4)
        assert not found.HasField("result")
        running.fill.gate.set()
        answer = await edit
        found = await look_up(running, "one")
        assert found.state == edit_pb2.EDIT_STATE_SUCCEEDED
        assert found.result == answer
        assert not found.HasField("error")
        assert running.fill.calls == 1


async def test_a_failed_edit_tells_the_error_that_its_call_ended_with() -> None:
    async with world() as running:
        error = await failure(running.stub.Edit(request(request_id="one", prompt="")))
        found = await look_up(running, "one")
        assert found.state == edit_pb2.EDIT_STATE_FAILED
        told = from_status(found.error)
        assert (type(told), told.message, told.violations) == (type(error), error.message, error.violations)
        assert told.request_id == "one"
        assert not found.HasField("result")


async def test_an_edit_that_runs_again_under_its_id_is_no_longer_failed() -> None:
    async with world() as running:
        await failure(running.stub.Edit(request(request_id="one", prompt="")))
        await running.stub.Edit(request(request_id="one"))
        found = await look_up(running, "one")
        assert found.state == edit_pb2.EDIT_STATE_SUCCEEDED
        assert not found.HasField("error")


@pytest.mark.parametrize("is_asked", [True, False], ids=["cancelled", "left"])
async def test_a_cancelled_edit_says_so(is_asked: bool) -> None:
    async with world() as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await running.fill.begun.wait()
        if is_asked:
            await running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id="one"))
            await failure(edit)
        else:
            edit.cancel()
            await eventually(lambda: running.fill.cancelled == 1)
        found = await look_up(running, "one")
        assert found.state == edit_pb2.EDIT_STATE_CANCELLED
        assert from_status(found.error).reason == "CANCELLED"


async def test_the_answer_of_a_made_up_id_is_not_kept_but_its_end_is_known() -> None:
    async with world() as running:
        answer = await running.stub.Edit(request())
        found = await look_up(running, answer.request_id)
        assert found.state == edit_pb2.EDIT_STATE_SUCCEEDED
        assert not found.HasField("result")


async def test_an_answer_over_the_limit_is_forgotten_and_its_state_is_not() -> None:
    async with world(max_kept_bytes=0) as running:
        await running.stub.Edit(request(request_id="one"))
        found = await look_up(running, "one")
        assert found.state == edit_pb2.EDIT_STATE_SUCCEEDED
        assert not found.HasField("result")


async def test_an_unknown_id_is_not_found() -> None:
    async with world() as running:
        error = await failure(running.stub.GetEdit(edit_pb2.GetEditRequest(request_id="nowhere")))
        assert type(error) is RequestNotFound
        assert "another replica" in error.message
        assert error.resource is not None
        assert error.resource.name == "nowhere"


@pytest.mark.parametrize("request_id", ["", "no spaces", "a" * 65, "한글"])
async def test_a_malformed_id_is_refused_by_its_field(request_id: str) -> None:
    async with world() as running:
        error = await failure(running.stub.GetEdit(edit_pb2.GetEditRequest(request_id=request_id)))
        assert type(error) is InvalidArgument
        assert error.violations[0].field == "request_id"


async def test_an_edit_of_another_caller_is_not_found() -> None:
    secrets, credentials = zip(*(tokens.make(name, ["edit"]) for name in ("alice", "bob")), strict=True)
    async with world(tokens=";".join(credential.line for credential in credentials)) as running:
        alice, bob = ((("authorization", f"Bearer {secret}"),) for secret in secrets)
        answer = await running.stub.Edit(request(request_id="one"), metadata=alice)
        foreign = running.stub.GetEdit(edit_pb2.GetEditRequest(request_id="one"), metadata=bob)
        assert type(await failure(foreign)) is RequestNotFound
        assert (await look_up(running, "one", metadata=alice)).result == answer
