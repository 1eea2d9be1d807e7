"""Half-sent messages and unread responses use only their caller's share, briefly."""

from __future__ import annotations

import asyncio
import io
import socket
import threading
from contextlib import ExitStack
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from prometheus_client import REGISTRY

from imgedit import tokens
from imgedit.call_errors import error_of
from imgedit.errors import DeadlineExceeded, InvalidArgument, QueueFull, TooManyEdits
from imgedit.v1 import edit_pb2
from services.common import messages
from services.common.connections import Connections
from services.common.messages import Limits
from tests.integration.raw_http2 import RawCall, open_and_reset

from .scripted import World, all_of, eventually, joined, request, world

pytestmark = pytest.mark.slow

EDIT = "/imgedit.v1.EditService/Edit"
LIST = "/imgedit.v1.EditService/ListExperiments"
BATCH = "/imgedit.v1.EditService/EditBatch"


def noise() -> bytes:
    """A small file of many pixels, of which the answer is large."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "JPEG", quality=10)
    return buffer.getvalue()


LARGE = request(input_image=noise())
ONE = request(request_id="one", input_image=noise())


def in_flight() -> float:
    return REGISTRY.get_sample_value("imgedit_edits_in_flight") or 0


def half_sent(running: World, method: str, token: str = "") -> RawCall:
    return RawCall(running.orchestrator.port, method, bytes(1000), announced=40 * 2**20, token=token)


async def ended(call: RawCall) -> bool:
    return await asyncio.to_thread(call.until_ended, 30)


@pytest.mark.parametrize("method", [EDIT, "/imgedit.v1.EditService/EditStream", "/grpc.health.v1.Health/Check"])
async def test_a_message_that_is_half_sent_is_given_up(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.common.messages.HEALTH_LIMITS", Limits(receive_seconds=0.5))
    async with world(receive_seconds=0.5) as running:
        with half_sent(running, method) as call:
            assert await ended(call)
        assert (await running.stub.Edit(request())).success


async def test_half_sent_messages_of_one_caller_hold_up_nobody_else() -> None:
    secrets, credentials = zip(*(tokens.make_token(name, ["edit"]) for name in ("alice", "bob")), strict=True)
    lines = ";".join(credential.line for credential in credentials)
    async with world(tokens=lines, max_receiving_per_caller=2, receive_seconds=3) as running:
        alice, bob = ((("authorization", f"Bearer {secret}"),) for secret in secrets)
        with ExitStack() as stack:
            calls = [stack.enter_context(half_sent(running, EDIT, token=secrets[0])) for _ in range(2)]
            await asyncio.sleep(0.5)
            waiting = asyncio.ensure_future(running.stub.Edit(request(), metadata=alice))
            assert (await running.stub.Edit(request(), metadata=bob)).success
            assert not waiting.done()
            assert all([await ended(call) for call in calls])
            assert (await waiting).success


async def test_half_a_message_in_a_batch_ends_it_and_a_caller_has_few_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orchestrator.servicer.IDLE_SECONDS", 1.0)
    async with world(max_receiving_per_caller=1) as running:
        with half_sent(running, BATCH) as call:
            await asyncio.sleep(0.3)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await all_of(running.stub.EditBatch([request()]))
            assert type(error_of(caught.value, "here")) is QueueFull
            assert await ended(call)
        assert len(await all_of(running.stub.EditBatch([request()]))) > 1


async def test_a_batch_may_wait_for_a_result_before_it_sends_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.orchestrator.servicer.IDLE_SECONDS", 0.4)
    async with world() as running:
        running.fill.gate.clear()
        stub: Any = running.stub
        call = stub.EditBatch()
        await call.write(request(request_id="a"))
        await running.fill.begun.wait()
        await asyncio.sleep(1.5)
        running.fill.gate.set()
        while (await call.read()).WhichOneof("event") != "result":
            pass
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert type(error_of(caught.value, "here")) is DeadlineExceeded


@pytest.mark.parametrize("method", [EDIT, "/imgedit.v1.EditService/EditStream"])
async def test_an_answer_that_is_not_read_keeps_its_place_until_its_connection_is_closed(method: str) -> None:
    async with world(send_seconds=3) as running:
        with RawCall(running.orchestrator.port, method, LARGE.SerializeToString(), window=0) as call:
            await eventually(lambda: running.fill.steps_done > 0)
            await eventually(lambda: running.fill.running == 0)
            await asyncio.sleep(0.3)
            assert in_flight() == 1
            assert await ended(call)
        await eventually(lambda: in_flight() == 0)
        await eventually(lambda: REGISTRY.get_sample_value("imgedit_edit_bytes") == 0)
        assert (await running.stub.Edit(request())).success


async def test_answers_that_are_not_read_count_as_their_callers_edits() -> None:
    async with world(max_edits_per_caller=2) as running:
        with ExitStack() as stack:
            for _ in range(2):
                stack.enter_context(RawCall(running.orchestrator.port, EDIT, LARGE.SerializeToString(), window=0))
            await eventually(lambda: running.fill.running == 0 and running.fill.steps_done >= 6)
            await asyncio.sleep(0.3)
            with pytest.raises(grpc.aio.AioRpcError, match="of this caller run already"):
                await running.stub.Edit(request())
        await eventually(lambda: in_flight() == 0)
        assert (await running.stub.Edit(request())).success


def copies_of(way: str, running: World, count: int, token: str, stack: ExitStack) -> None:
    """So many calls that ask for an edit's kept answer and do not read it."""
    method, message = f"/imgedit.v1.EditService/{way}", asking(way).SerializeToString()
    for _ in range(count):
        stack.enter_context(RawCall(running.orchestrator.port, method, message, window=0, token=token))


def asking(way: str) -> Any:
    return edit_pb2.GetEditRequest(request_id="one") if way == "GetEdit" else ONE


def bytes_held() -> float:
    return REGISTRY.get_sample_value("imgedit_edit_bytes") or 0


@pytest.mark.parametrize("way", ["GetEdit", "EditStream"])
async def test_copies_of_a_kept_answer_take_no_places_of_other_callers(way: str) -> None:
    secrets, credentials = zip(*(tokens.make_token(name, ["edit"]) for name in ("alice", "bob")), strict=True)
    lines = ";".join(credential.line for credential in credentials)
    async with world(tokens=lines, max_edits=3, max_edits_per_caller=2) as running:
        alice, bob = ((("authorization", f"Bearer {secret}"),) for secret in secrets)
        size = (await running.stub.Edit(ONE, metadata=alice)).ByteSize()
        with ExitStack() as stack:
            copies_of(way, running, 5, secrets[0], stack)
            await eventually(lambda: bytes_held() >= 5 * size)
            assert (await running.stub.Edit(request(), metadata=bob)).success
        await eventually(lambda: bytes_held() == 0)


@pytest.mark.parametrize("way", ["GetEdit", "Edit"])
async def test_copies_of_a_kept_answer_count_by_their_bytes(way: str) -> None:
    async with world(max_edit_bytes_per_caller=2_000_000) as running:
        size = (await running.stub.Edit(ONE)).ByteSize()
        most = 2_000_000 // (2 * size if way == "GetEdit" else size)
        asked = running.stub.GetEdit if way == "GetEdit" else running.stub.Edit
        with ExitStack() as stack:
            copies_of(way, running, most, "", stack)
            await eventually(lambda: bytes_held() + 2 * size > 2_000_000)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asked(asking(way))
            assert type(error_of(caught.value, "here")) is TooManyEdits
        await eventually(lambda: bytes_held() == 0)


async def test_those_who_join_an_edit_get_no_more_copies_than_fit() -> None:
    async with world(max_edit_bytes_per_caller=4_000_000, max_kept_bytes=0) as running:
        running.fill.gate.clear()
        before = joined()
        calls = [asyncio.ensure_future(running.stub.Edit(ONE)) for _ in range(20)]
        await eventually(lambda: joined() == before + 19)
        with ExitStack() as stack:
            copies_of("Edit", running, 20, "", stack)
            await eventually(lambda: joined() == before + 39)
            running.fill.gate.set()
            ended = await asyncio.gather(*calls, return_exceptions=True)
            refused = [error_of(one, "here") for one in ended if isinstance(one, grpc.aio.AioRpcError)]
            assert {type(error) for error in refused} == {TooManyEdits}
            assert any(isinstance(one, edit_pb2.EditResponse) for one in ended)
            assert in_flight() <= 1
        await eventually(lambda: bytes_held() == 0)


async def test_streams_that_are_reset_at_once_cancel_nobody_elses_calls() -> None:
    async with world() as running:
        stop = threading.Event()
        attack = asyncio.create_task(asyncio.to_thread(open_and_reset, running.orchestrator.port, LIST, stop))
        try:
            await asyncio.sleep(0.5)
            for _ in range(20):
                assert (await running.stub.ListExperiments(edit_pb2.ListExperimentsRequest())).experiments
        finally:
            stop.set()
            await attack


async def test_bytes_that_are_no_message_are_refused_as_such() -> None:
    async with world() as running:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{running.orchestrator.port}") as channel:
            call = channel.unary_unary(EDIT, lambda data: data, edit_pb2.EditResponse.FromString)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"\xff\xff")
        assert type(error_of(caught.value, "here")) is InvalidArgument


async def test_health_is_watched_as_before() -> None:
    async with world() as running, grpc.aio.insecure_channel(f"127.0.0.1:{running.orchestrator.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


async def test_an_address_watches_health_a_bounded_number_of_times() -> None:
    async with world() as running, grpc.aio.insecure_channel(f"127.0.0.1:{running.orchestrator.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        watching = [watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(messages.WATCH_LIMITS.per_caller)]
        for one in watching:
            assert (await one.read()).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await watch(health_pb2.HealthCheckRequest(), timeout=60).read()
        assert type(error_of(caught.value, "here")) is QueueFull
        checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert checked.status == health_pb2.HealthCheckResponse.SERVING


def test_a_connection_is_closed_only_when_all_its_calls_are_stuck() -> None:
    connections = Connections()
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, address = server.accept()
    peer = f"ipv4:{address[0]}:{address[1]}"
    with theirs, ours, connections.call(peer), connections.stuck(peer):
        theirs.settimeout(0.2)
        with connections.call(peer):
            connections.close_if_stuck(peer)
            with pytest.raises(TimeoutError):
                theirs.recv(1)
        connections.close_if_stuck(peer)
        assert theirs.recv(1) == b""
