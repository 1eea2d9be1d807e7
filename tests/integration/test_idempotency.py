"""Edits joined by their request id, kept answers, and CancelEdit, over real gRPC."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from imgedit import tokens
from imgedit.call_errors import error_of
from imgedit.errors import (
    EditCancelled,
    ImgeditError,
    InvalidArgument,
    RequestIdInUse,
    RequestNotFound,
    from_status,
)
from imgedit.v1 import edit_pb2
from services.common.interceptors import REQUEST_ID_KEY

from .scripted import World, all_of, eventually, joined, kind, request, world

pytestmark = pytest.mark.slow


async def cancel(running: World, request_id: str) -> int:
    return (await running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id=request_id))).outcome


async def failure(call: object) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return error_of(caught.value, "here")


async def test_the_same_request_joins_the_edit_that_runs() -> None:
    async with world() as running:
        running.fill.gate.clear()
        first = asyncio.create_task(all_of(running.stub.EditStream(request(request_id="one"))))
        await running.fill.begun.wait()
        before = joined()
        second = asyncio.create_task(all_of(running.stub.EditStream(request(request_id="one"))))
        third = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await eventually(lambda: joined() == before + 2)
        running.fill.gate.set()
        events, shared = await first, await second
        assert running.fill.calls == 1
        assert [kind(event) for event in events] == [kind(event) for event in shared]
        assert kind(shared[-1]) == "result"
        assert events[-1].result == shared[-1].result == await third
        assert {event.request_id for event in shared} == {"one"}


async def test_a_finished_edit_is_answered_again_without_work() -> None:
    async with world() as running:
        first = await running.stub.Edit(request(request_id="one", seed=None))
        again = await running.stub.Edit(request(request_id="one", seed=None))
        [event] = await all_of(running.stub.EditStream(request(request_id="one", seed=None)))
        assert first == again == event.result
        assert running.fill.calls == 1


async def test_an_id_from_the_metadata_counts_as_well() -> None:
    async with world() as running:
        metadata = ((REQUEST_ID_KEY, "of-the-call"),)
        first = await running.stub.Edit(request(), metadata=metadata)
        assert await running.stub.Edit(request(), metadata=metadata) == first
        assert await running.stub.Edit(request(request_id="of-the-call")) == first
        assert running.fill.calls == 1


async def test_a_made_up_id_is_never_joined_or_kept() -> None:
    async with world() as running:
        first = await running.stub.Edit(request())
        second = await running.stub.Edit(request())
        assert first.request_id != second.request_id
        assert running.fill.calls == 2


@pytest.mark.parametrize("is_running", [True, False])
async def test_another_request_under_the_same_id_is_refused(is_running: bool) -> None:
    async with world() as running:
        if is_running:
            running.fill.gate.clear()
        first = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await running.fill.begun.wait()
        if not is_running:
            await first
        other = request(request_id="one", prompt="another gym")
        error = await failure(running.stub.Edit(other))
        assert type(error) is RequestIdInUse
        assert "'one'" in error.message
        [event] = await all_of(running.stub.EditStream(other))
        assert type(from_status(event.error)) is RequestIdInUse
        running.fill.gate.set()
        assert (await first).success
        assert running.fill.calls == 1


async def test_a_failed_edit_is_run_again_and_frees_its_id() -> None:
    async with world() as running:
        running.fill.faults = [grpc.StatusCode.INTERNAL]
        assert (await failure(running.stub.Edit(request(request_id="one")))).code is grpc.StatusCode.INTERNAL
        assert (await running.stub.Edit(request(request_id="one"))).success
        assert running.fill.calls == 2
        await failure(running.stub.Edit(request(request_id="two", prompt="")))
        assert (await running.stub.Edit(request(request_id="two"))).success


async def test_an_edit_goes_on_while_anyone_waits_and_ends_with_the_last() -> None:
    async with world() as running:
        running.fill.gate.clear()
        first = running.stub.EditStream(request(request_id="one"))
        reading = asyncio.create_task(all_of(first))
        await running.fill.begun.wait()
        before = joined()
        second = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await eventually(lambda: joined() == before + 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await asyncio.sleep(0.2)
        assert running.fill.cancelled == 0
        second.cancel()
        await eventually(lambda: running.fill.cancelled == 1)
        assert await cancel(running, "one") == edit_pb2.CANCEL_OUTCOME_FINISHED


async def test_an_abandoned_edit_is_not_joined() -> None:
    async with world() as running:
        running.fill.gate.clear()
        first = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await running.fill.begun.wait()
        first.cancel()
        running.fill.gate.set()
        assert (await running.stub.Edit(request(request_id="one"))).success


async def test_an_answer_is_forgotten_when_its_time_is_over() -> None:
    async with world(kept_answer_seconds=0.2) as running:
        await running.stub.Edit(request(request_id="one"))
        await asyncio.sleep(0.4)
        await running.stub.Edit(request(request_id="one", prompt="another gym"))
        assert running.fill.calls == 2


@pytest.mark.parametrize("is_streamed", [True, False])
async def test_a_running_edit_is_cancelled_by_its_id(is_streamed: bool) -> None:
    async with world() as running:
        running.fill.gate.clear()
        call = running.stub.EditStream if is_streamed else running.stub.Edit
        edit = call(request(request_id="one"))
        ended = asyncio.create_task(all_of(edit) if is_streamed else failure(edit))
        await running.fill.begun.wait()
        assert await cancel(running, "one") == edit_pb2.CANCEL_OUTCOME_CANCELLED
        found = await ended
        error = from_status(found[-1].error) if isinstance(found, list) else found
        assert type(error) is EditCancelled
        assert error.reason == "CANCELLED"
        await eventually(lambda: running.fill.cancelled == 1)
        assert running.fill.steps_done == 0
        assert await cancel(running, "one") == edit_pb2.CANCEL_OUTCOME_FINISHED


async def test_a_made_up_id_can_be_cancelled_too() -> None:
    async with world() as running:
        running.fill.gate.clear()
        stream = aiter(running.stub.EditStream(request()))
        event = await anext(stream)
        assert await cancel(running, event.request_id) == edit_pb2.CANCEL_OUTCOME_CANCELLED
        assert kind((await all_of(stream))[-1]) == "error"


async def test_cancelling_what_has_ended_changes_nothing() -> None:
    async with world() as running:
        first = await running.stub.Edit(request(request_id="one"))
        assert await cancel(running, "one") == edit_pb2.CANCEL_OUTCOME_FINISHED
        assert await running.stub.Edit(request(request_id="one")) == first


async def test_cancelling_an_unknown_id_says_that_it_is_not_held_here() -> None:
    async with world() as running:
        error = await failure(running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id="nowhere")))
        assert type(error) is RequestNotFound
        assert "another replica" in error.message
        assert error.resource is not None
        assert error.resource.name == "nowhere"


@pytest.mark.parametrize("request_id", ["", "no spaces", "a" * 65, "한글"])
async def test_cancelling_a_malformed_id_is_refused_by_its_field(request_id: str) -> None:
    async with world() as running:
        error = await failure(running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id=request_id)))
        assert type(error) is InvalidArgument
        assert error.violations[0].field == "request_id"


async def test_ids_are_scoped_by_caller() -> None:
    secrets, credentials = zip(*(tokens.make_token(name, ["edit"]) for name in ("alice", "bob")), strict=True)
    async with world(tokens=";".join(credential.line for credential in credentials)) as running:
        alice, bob = ((("authorization", f"Bearer {secret}"),) for secret in secrets)
        running.fill.gate.clear()
        first = asyncio.ensure_future(running.stub.Edit(request(request_id="one"), metadata=alice))
        await running.fill.begun.wait()
        foreign = running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id="one"), metadata=bob)
        assert type(await failure(foreign)) is RequestNotFound
        running.fill.gate.set()
        other = await running.stub.Edit(request(request_id="one", prompt="another gym"), metadata=bob)
        assert other.effective.prompt == "another gym"
        assert (await first).effective.prompt == "a gym"
