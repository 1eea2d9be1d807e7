"""Limits on edits and bytes at once, over real gRPC.

Refused fast, before anything is decoded, with a time to retry.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import grpc
import pytest
from prometheus_client import REGISTRY

from imgedit import tokens
from imgedit.call_errors import error_of
from imgedit.errors import ImgeditError, TooManyEdits, from_status

from .scripted import World, all_of, eventually, joined, kind, picture, request, world

pytestmark = pytest.mark.slow


async def failure(call: Any) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return error_of(caught.value, "here")


async def busy(running: World, edits: int, **call: Any) -> list[asyncio.Future[Any]]:
    """So many edits that wait in the model service."""
    running.fill.gate.clear()
    before = running.fill.running
    started = [asyncio.ensure_future(running.stub.Edit(request(seed=seed), **call)) for seed in range(edits)]
    await eventually(lambda: running.fill.running == before + edits)
    return started


def refused(whose: str, limit: str) -> float:
    return REGISTRY.get_sample_value("imgedit_edits_refused_total", {"whose": whose, "limit": limit}) or 0


async def test_an_edit_over_the_number_is_refused_and_the_next_one_passes() -> None:
    async with world(max_edits=2) as running:
        before = refused("all", "edits")
        started = await busy(running, 2)
        error = await failure(running.stub.Edit(request()))
        assert type(error) is TooManyEdits
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert error.retry_after_seconds
        assert error.retry_after_seconds >= 1
        assert refused("all", "edits") == before + 1
        assert REGISTRY.get_sample_value("imgedit_edits_in_flight") == 2
        running.fill.gate.set()
        await asyncio.gather(*started)
        assert (await running.stub.Edit(request())).success
        assert REGISTRY.get_sample_value("imgedit_edits_in_flight") == 0
        assert REGISTRY.get_sample_value("imgedit_edit_bytes") == 0


async def test_a_refusal_is_fast_and_decodes_nothing() -> None:
    async with world(max_edits=1) as running:
        await busy(running, 1)
        large = request(input_image=picture(1600, 1200))  # 6 MB of noise
        seconds = []
        for _ in range(5):
            started = time.perf_counter()
            assert type(await failure(running.stub.Edit(large))) is TooManyEdits
            seconds.append(time.perf_counter() - started)
        sending = []
        for _ in range(5):
            started = time.perf_counter()
            await failure(running.stub.Edit(request(experiment_id="nowhere", input_image=large.input_image)))
            sending.append(time.perf_counter() - started)
        # Beside what any answer to such a message takes.
        assert statistics.median(seconds) - statistics.median(sending) < 0.25
        running.fill.gate.set()


async def test_a_refused_stream_ends_with_its_error_event() -> None:
    async with world(max_edits=1) as running:
        await busy(running, 1)
        [event] = await all_of(running.stub.EditStream(request()))
        assert type(from_status(event.error)) is TooManyEdits
        events = await all_of(running.stub.EditBatch([request(request_id="a"), request(request_id="b")]))
        assert [(event.request_id, kind(event)) for event in events] == [("a", "error"), ("b", "error")]
        running.fill.gate.set()


async def test_one_caller_cannot_take_the_place_of_the_others() -> None:
    secrets, credentials = zip(*(tokens.make_token(name, ["edit"]) for name in ("alice", "bob")), strict=True)
    async with world(
        tokens=";".join(credential.line for credential in credentials), max_edits=3, max_edits_per_caller=2
    ) as running:
        alice, bob = ((("authorization", f"Bearer {secret}"),) for secret in secrets)
        started = await busy(running, 2, metadata=alice)
        error = await failure(running.stub.Edit(request(), metadata=alice))
        assert "this caller" in error.message
        started += await busy(running, 1, metadata=bob)
        assert "in all" in (await failure(running.stub.Edit(request(), metadata=bob))).message
        running.fill.gate.set()
        assert all(answer.success for answer in await asyncio.gather(*started))


async def test_bytes_are_counted_by_the_size_that_a_file_says() -> None:
    async with world(max_edit_bytes=3_000_000) as running:
        await busy(running, 1)
        error = await failure(running.stub.Edit(request(input_image=picture(400, 300))))  # 120,000 px
        assert type(error) is TooManyEdits
        assert "MiB" in error.message
        running.fill.gate.set()


async def test_a_margin_counts_as_the_pixels_it_adds() -> None:
    async with world(max_edit_bytes=3_000_000) as running:
        await busy(running, 1)
        wide = request(feature_id="outpainting", outpaint={"right": 4000})
        assert type(await failure(running.stub.Edit(wide))) is TooManyEdits
        running.fill.gate.set()


async def test_an_edit_that_is_alone_is_taken_whatever_its_bytes() -> None:
    async with world(max_edit_bytes=1, max_edit_bytes_per_caller=1) as running:
        assert (await running.stub.Edit(request())).success


async def test_joining_an_edit_counts_its_request_but_no_edit() -> None:
    async with world(max_edits=1) as running:
        running.fill.gate.clear()
        first = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await running.fill.begun.wait()
        before = joined()
        second = asyncio.ensure_future(running.stub.Edit(request(request_id="one")))
        await eventually(lambda: joined() == before + 1)
        running.fill.gate.set()
        assert await first == await second


@pytest.mark.parametrize("fault", [grpc.StatusCode.INTERNAL, None])
async def test_every_end_of_an_edit_frees_its_place(fault: grpc.StatusCode | None) -> None:
    async with world(max_edits=1) as running:
        running.fill.faults = [fault]
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request()))
        await running.fill.begun.wait()
        if fault is None:
            edit.cancel()
        running.fill.gate.set()
        await asyncio.wait({edit})
        await eventually(lambda: REGISTRY.get_sample_value("imgedit_edits_in_flight") == 0)
        assert (await running.stub.Edit(request())).success


async def test_a_noisy_picture_is_answered_without_what_does_not_fit() -> None:
    async with world(max_send_bytes=2**20 + 400_000) as running:
        answer = await running.stub.Edit(request(input_image=picture(400, 300)))
        assert answer.output_image
        assert not answer.background_removed_image
        assert any(warning.startswith("background_removed_image: left out") for warning in answer.warnings)
        assert any("배경을 제거한 이미지" in warning for warning in answer.korean_warnings)
