"""EditBatch over real gRPC.

Many edits in one stream, a bounded number at once, each with one end.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from imgedit.errors import (
    DeadlineExceeded,
    ImageRejected,
    InvalidArgument,
    RequestIdInUse,
    RequestTooLarge,
    from_status,
)
from imgedit.v1 import edit_pb2
from services.common.interceptors import REQUEST_ID_KEY

from .scripted import all_of, eventually, kind, picture, request, world

pytestmark = pytest.mark.slow


def ends(events: list[edit_pb2.EditEvent]) -> dict[str, str]:
    """How each request ended; fails unless each ended once, and last."""
    found: dict[str, str] = {}
    for event in events:
        assert event.request_id not in found, "an event after the end"
        if kind(event) in ("result", "error"):
            found[event.request_id] = kind(event)
    assert {event.request_id for event in events} == set(found)
    return found


async def test_every_request_ends_once_and_a_failed_one_does_not_end_the_stream() -> None:
    async with world() as running:
        requests = [
            request(request_id="good-1"),
            request(request_id="bad-picture", input_image=b"no picture"),
            request(request_id="bad-prompt", prompt=""),
            request(request_id="good-2", seed=8),
        ]
        events = await all_of(running.stub.EditBatch(requests))
        assert ends(events) == {
            "good-1": "result",
            "bad-picture": "error",
            "bad-prompt": "error",
            "good-2": "result",
        }
        errors = {event.request_id: from_status(event.error) for event in events if kind(event) == "error"}
        assert type(errors["bad-picture"]) is ImageRejected
        assert errors["bad-picture"].request_id == "bad-picture"
        assert Counter(kind(event) for event in events)["progress"] == 2 * running.fill.steps


async def test_answers_come_as_they_finish() -> None:
    async with world() as running:
        running.fill.gate.clear()
        slow, quick = request(request_id="slow"), request(request_id="quick", strength=0.0)
        call: Any = running.stub.EditBatch([slow, quick])
        ended = []
        async for event in call:
            if kind(event) == "result":
                ended.append(event.request_id)
                running.fill.gate.set()
        assert ended == ["quick", "slow"]


async def test_no_more_than_the_limit_run_or_are_read() -> None:
    async with world(max_in_batch=2) as running:
        running.fill.gate.clear()
        sent = 0
        large = picture(1800, 1500)

        async def requests() -> AsyncIterator[edit_pb2.EditRequest]:
            nonlocal sent
            for seed in range(16):
                yield request(seed=seed, input_image=large)
                sent += 1

        ending = asyncio.create_task(all_of(running.stub.EditBatch(requests())))
        await eventually(lambda: running.fill.running == 2)
        await asyncio.sleep(0.3)
        assert running.fill.calls == running.segmentation.calls == 2
        assert sent < 14, "what is not read must not be sent"
        running.fill.gate.set()
        assert list(ends(await ending).values()) == ["result"] * 16
        assert running.fill.most_running == 2


async def test_ids_that_are_left_out_are_made_from_the_id_of_the_call() -> None:
    async with world() as running:
        call = running.stub.EditBatch(
            [request(), request(request_id="mine"), request(seed=8)], metadata=((REQUEST_ID_KEY, "call"),)
        )
        assert set(ends(await all_of(call))) == {"call-1", "mine", "call-3"}


async def test_an_id_that_comes_twice_is_an_error_of_the_second() -> None:
    async with world() as running:
        events = await all_of(running.stub.EditBatch([request(request_id="one"), request(request_id="one")]))
        finals = [event for event in events if kind(event) in ("result", "error")]
        assert sorted(kind(event) for event in finals) == ["error", "result"]
        [error] = [from_status(event.error) for event in finals if kind(event) == "error"]
        assert type(error) is RequestIdInUse
        assert running.fill.calls == 1


async def test_a_malformed_id_is_an_error_by_its_field() -> None:
    async with world() as running:
        call = running.stub.EditBatch([request(request_id="no spaces")], metadata=((REQUEST_ID_KEY, "call"),))
        [event] = await all_of(call)
        assert event.request_id == "call-1"
        error = from_status(event.error)
        assert type(error) is InvalidArgument
        assert error.violations[0].field == "request_id"


async def test_a_call_id_that_leaves_no_room_for_numbers_is_refused() -> None:
    async with world() as running:
        call = running.stub.EditBatch([request()], metadata=((REQUEST_ID_KEY, "x" * 55),))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await all_of(call)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_message_that_is_too_large_is_an_error_of_its_own() -> None:
    async with world(max_request_bytes=100_000) as running:
        large = request(request_id="large", mask_image=b"\0" * 100_001)
        events = await all_of(running.stub.EditBatch([large, request(request_id="small")]))
        assert ends(events) == {"large": "error", "small": "result"}
        assert type(from_status(events[0].error)) is RequestTooLarge


async def test_an_empty_batch_ends_at_once() -> None:
    async with world() as running:
        assert await all_of(running.stub.EditBatch([])) == []


async def test_a_caller_that_leaves_cancels_all_that_runs() -> None:
    async with world() as running:
        running.fill.gate.clear()
        call = running.stub.EditBatch([request(seed=seed) for seed in range(3)])
        reading = asyncio.create_task(all_of(call))
        await eventually(lambda: running.fill.running == 3)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await eventually(lambda: running.fill.cancelled == 3)
        assert running.fill.steps_done == 0


async def test_the_deadline_of_the_call_is_that_of_every_edit() -> None:
    async with world(max_in_batch=1) as running:
        running.fill.gate.clear()
        call = running.stub.EditBatch([request(request_id="one")], timeout=1.0)
        [*_, last] = await all_of(call)
        assert last.request_id == "one"
        assert type(from_status(last.error)) is DeadlineExceeded
        assert running.fill.time_left[0] < 1.0


async def test_one_of_a_batch_can_be_cancelled_and_the_others_go_on() -> None:
    async with world() as running:
        running.fill.gate.clear()
        call = running.stub.EditBatch([request(request_id="one"), request(request_id="two", seed=8)])
        reading = asyncio.create_task(all_of(call))
        await eventually(lambda: running.fill.running == 2)
        await running.stub.CancelEdit(edit_pb2.CancelEditRequest(request_id="one"))
        running.fill.gate.set()
        assert ends(await reading) == {"one": "error", "two": "result"}


async def test_every_request_is_counted_and_logged_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    def counted(code: str) -> float:
        labels = {"service": "orchestrator", "rpc": "EditBatchItem", "code": code}
        return REGISTRY.get_sample_value("imgedit_rpc_duration_seconds_count", labels) or 0

    async with world() as running:
        before = counted("OK"), counted("INVALID_ARGUMENT")
        with caplog.at_level(logging.INFO, "imgedit.access"):
            await all_of(running.stub.EditBatch([request(), request(prompt="")]))
        assert (counted("OK"), counted("INVALID_ARGUMENT")) == (before[0] + 1, before[1] + 1)
        codes = [record.__dict__["code"] for record in caplog.records if record.__dict__.get("rpc") == "EditBatchItem"]
        assert sorted(codes) == ["INVALID_ARGUMENT", "OK"]
