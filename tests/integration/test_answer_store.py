"""Kept answers and states in a real Redis, shared by orchestrators over real gRPC."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
from prometheus_client import REGISTRY

from imgedit.call_errors import error_of
from imgedit.errors import ImgeditError, RequestIdInUse, RequestNotFound, from_status
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from tests.support.redis_server import RedisServer, redis_server

from .scripted import World, all_of, eventually, kind, request, world

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PATIENT = {"store_seconds": 60}
"""A busy machine does not count as a lost store."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worlds(server: RedisServer) -> AsyncIterator[tuple[World, World]]:
    options = {"store_url": server.url, "store_lease_seconds": 10, **PATIENT}
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(world(**options)), await stack.enter_async_context(world(**options))


@pytest.fixture
def two(worlds: tuple[World, World]) -> tuple[World, World]:
    """Two orchestrators with one store; their model services have done nothing yet."""
    for running in worlds:
        running.fill.requests.clear()
        running.fill.begun.clear()
        running.fill.gate.set()
    return worlds


@pytest.fixture
def edit_id() -> str:
    return uuid4().hex


async def look_up(running: World, request_id: str) -> edit_pb2.GetEditResponse:
    return await running.stub.GetEdit(edit_pb2.GetEditRequest(request_id=request_id))


async def failure(call: Any) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value, "here")


async def in_state(running: World, request_id: str, state: int) -> edit_pb2.GetEditResponse:
    """Wait until the edit is in this state.

    An end without an answer is written in the background.
    """
    async with asyncio.timeout(60):
        while (found := await look_up(running, request_id)).state != state:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def held(running: World, **fields: Any) -> AsyncIterator[asyncio.Future[edit_pb2.EditResponse]]:
    """An edit that paints until the end of the block."""
    running.fill.gate.clear()
    edit = asyncio.ensure_future(running.stub.Edit(request(**fields)))
    await running.fill.begun.wait()
    try:
        yield edit
    finally:
        running.fill.gate.set()


def is_lost() -> bool:
    return REGISTRY.get_sample_value("imgedit_answer_store_lost") == 1


def errors() -> float:
    return REGISTRY.get_sample_value("imgedit_answer_store_errors_total", {"kind": "unreachable"}) or 0


async def test_any_replica_answers_for_a_finished_edit(two: tuple[World, World], edit_id: str) -> None:
    one, other = two
    answer = await one.stub.Edit(request(request_id=edit_id, seed=None))
    found = await look_up(other, edit_id)
    assert found.state == edit_pb2.EDIT_STATE_SUCCEEDED
    assert found.result == answer
    cancelled = await other.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id=edit_id))
    assert cancelled.outcome == edit_pb2.CANCEL_OUTCOME_FINISHED
    assert await other.stub.Edit(request(request_id=edit_id, seed=None)) == answer
    [event] = await all_of(other.stub.EditStream(request(request_id=edit_id, seed=None)))
    assert (kind(event), event.result) == ("result", answer)
    assert (one.fill.calls, other.fill.calls) == (1, 0)


async def test_the_results_of_one_request_come_from_another_replica_too(two: tuple[World, World], edit_id: str) -> None:
    one, other = two
    answer = await one.stub.Edit(request(request_id=edit_id, n=2))
    events = await all_of(other.stub.EditStream(request(request_id=edit_id, n=2)))
    assert [event.index for event in events] == [0, 1]
    assert events[1].result.output_image == answer.further_results[0].output_image
    assert other.fill.calls == 0


async def test_another_request_under_the_id_is_refused_while_the_edit_runs_and_after(
    two: tuple[World, World], edit_id: str
) -> None:
    one, other = two
    different = request(request_id=edit_id, prompt="another gym")
    async with held(one, request_id=edit_id) as edit:
        assert type(await failure(other.stub.Edit(different))) is RequestIdInUse
    answer = await edit
    assert type(await failure(other.stub.Edit(different))) is RequestIdInUse
    assert (await look_up(other, edit_id)).result == answer
    assert other.fill.calls == 0


async def test_a_running_edit_is_seen_by_another_replica_which_cannot_cancel_it(
    two: tuple[World, World], edit_id: str
) -> None:
    one, other = two
    async with held(one, request_id=edit_id) as edit:
        async with asyncio.timeout(60):
            while not (found := await look_up(other, edit_id)).HasField("queued"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert (found.stage.name, found.stage.index) == ("fill", 3)
        error = await failure(other.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id=edit_id)))
        assert type(error) is RequestNotFound
        assert "x-imgedit-request-id" in error.message
    assert (await edit).success


async def test_the_same_request_runs_at_once_while_another_replica_runs_it(
    two: tuple[World, World], edit_id: str
) -> None:
    """Its caller may have lost a replica that the store still believes in."""
    one, other = two
    async with held(one, request_id=edit_id) as first:
        second = await other.stub.Edit(request(request_id=edit_id))
        assert (await look_up(other, edit_id)).result == second
    assert (await first).success
    assert (await look_up(other, edit_id)).result == second  # the first answer stays


async def test_a_failed_edit_tells_its_error_and_frees_its_id(two: tuple[World, World], edit_id: str) -> None:
    one, other = two
    error = await failure(one.stub.Edit(request(request_id=edit_id, prompt="")))
    found = await in_state(other, edit_id, edit_pb2.EDIT_STATE_FAILED)
    assert from_status(found.error).message == error.message
    answer = await other.stub.Edit(request(request_id=edit_id))
    found = await look_up(one, edit_id)  # which remembers the failure
    assert (found.state, found.result) == (edit_pb2.EDIT_STATE_SUCCEEDED, answer)


async def test_a_cancelled_edit_says_so_at_another_replica(two: tuple[World, World], edit_id: str) -> None:
    one, other = two
    async with held(one, request_id=edit_id) as edit:
        await one.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id=edit_id))
        await failure(edit)
    await in_state(other, edit_id, edit_pb2.EDIT_STATE_CANCELLED)


async def test_the_end_under_a_generated_id_is_known_and_its_answer_is_not(two: tuple[World, World]) -> None:
    one, other = two
    answer = await one.stub.Edit(request())
    found = await in_state(other, answer.request_id, edit_pb2.EDIT_STATE_SUCCEEDED)
    assert not found.HasField("result")


async def test_a_killed_orchestrator_loses_no_finished_answer(
    two: tuple[World, World], server: RedisServer, edit_id: str, tmp_path: Path
) -> None:
    one, _ = two
    log = tmp_path / "orchestrator.log"
    with orchestrator_process(one, server.url, log) as process:
        await eventually(lambda: port_in(log), seconds=120)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port_in(log)}") as channel:
            answer = await edit_pb2_grpc.EditServiceStub(channel).Edit(request(request_id=edit_id, seed=None))
        process.kill()
        process.wait()
    assert (await look_up(one, edit_id)).result == answer
    assert await one.stub.Edit(request(request_id=edit_id, seed=None)) == answer
    assert one.fill.calls == 1  # that of the killed one


@contextmanager
def orchestrator_process(services: World, url: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A second process before the same model services."""
    settings = {
        "port": 0,
        "metrics_port": 0,
        "store_url": url,
        **PATIENT,
        **{name: f"127.0.0.1:{server.port}" for name, server in services.servers.items()},
    }
    environment = os.environ | {f"IMGEDIT_ORCHESTRATOR_{name.upper()}": str(value) for name, value in settings.items()}
    with log.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "services.orchestrator"], env=environment, stderr=file)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def port_in(log: Path) -> int:
    """The port that a process has logged; 0 before it serves."""
    lines = [json.loads(line) for line in log.read_text().splitlines(keepends=True) if line.endswith("}\n")]
    return next((int(line["port"]) for line in lines if line["message"] == "serving"), 0)


async def test_a_lost_store_fails_no_edit_and_is_found_again(caplog: pytest.LogCaptureFixture) -> None:
    with redis_server() as server:
        async with world(store_url=server.url, store_lease_seconds=0.5, **PATIENT) as running:
            with caplog.at_level(logging.WARNING, "services.orchestrator.edits.answer_store"):
                async with held(running, request_id="one") as edit:
                    server.end()
                    await eventually(is_lost)
                answer = await edit
                assert (await running.stub.Edit(request(request_id="two"))).success
                assert (await look_up(running, "one")).result == answer
                assert type(await failure(look_up(running, "nowhere"))) is RequestNotFound
                before = errors()
                await eventually(lambda: errors() >= before + 2)  # further beats
            assert len([entry for entry in caplog.records if "is lost" in entry.message]) == 1
            server.start()
            await eventually(lambda: not is_lost())
            answer = await running.stub.Edit(request(request_id="three"))
            async with world(store_url=server.url, **PATIENT) as other:
                assert (await look_up(other, "three")).result == answer
