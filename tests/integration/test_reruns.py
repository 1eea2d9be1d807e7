"""A stage whose service is lost is run again once, and only then.

Deadlines reach every stage.
"""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest
from prometheus_client import REGISTRY

from imgedit.call_errors import error_of
from imgedit.errors import DeadlineExceeded, ImgeditError, ServiceUnavailable, from_status
from imgedit.v1 import edit_pb2

from .scripted import all_of, eventually, kind, request, world

pytestmark = pytest.mark.slow

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def reruns(stage: str) -> float:
    return REGISTRY.get_sample_value("imgedit_stage_reruns_total", {"stage": stage}) or 0


async def failure(call: object) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return error_of(caught.value, "here")


@pytest.mark.parametrize("fault_step", [1, 3])
@pytest.mark.parametrize(
    ("service", "stage", "feature"),
    [
        ("segmentation", "segment", {}),
        ("fill", "fill", {}),
        ("qwen_edit", "qwen_edit", {"experiment_id": "ben2_qwen_image", "feature_id": "semantic_editing"}),
    ],
)
async def test_a_lost_stage_is_run_again_with_the_same_request(
    service: str, stage: str, feature: dict[str, str], fault_step: int
) -> None:
    async with world() as running:
        wanted = await running.stub.Edit(request(seed=None, **feature))
        seeded = request(**feature)
        seeded.seed = wanted.seed
        before, script = reruns(stage), running.scripts[service]
        script.faults, script.fault_step = [UNAVAILABLE], fault_step
        answer = await running.stub.Edit(seeded)
        assert answer.output_image == wanted.output_image
        assert script.calls == 3
        assert script.requests[1] == script.requests[2]
        assert reruns(stage) == before + 1


async def test_an_unset_seed_is_the_same_in_the_second_run() -> None:
    async with world() as running:
        running.fill.faults = [UNAVAILABLE]
        bare = request()
        bare.ClearField("seed")
        answer = await running.stub.Edit(bare)
        assert {sent.seed for sent in running.fill.requests} == {answer.seed}
        assert running.fill.calls == 2


async def test_a_stage_is_run_again_once_only() -> None:
    async with world() as running:
        running.fill.faults = [UNAVAILABLE, UNAVAILABLE]
        error = await failure(running.stub.Edit(request()))
        assert type(error) is ServiceUnavailable
        assert error.stage == "fill"
        assert running.fill.calls == 2


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in (grpc.StatusCode.OK, UNAVAILABLE)], ids=lambda c: c.name
)
async def test_no_other_code_is_run_again(code: grpc.StatusCode) -> None:
    async with world() as running:
        running.fill.faults = [code]
        error = await failure(running.stub.Edit(request()))
        assert error.stage == "fill"
        assert running.fill.calls == 1


async def test_the_second_run_shows_as_a_stage_that_begins_anew() -> None:
    async with world() as running:
        running.fill.faults, running.fill.fault_step = [UNAVAILABLE], 3
        events = await all_of(running.stub.EditStream(request()))
        stages = [event.stage.name for event in events if kind(event) == "stage"]
        assert stages == ["segment", "mask", "fill", "fill", "composite"]
        steps = [event.progress.step for event in events if kind(event) == "progress"]
        assert steps == [1, 2, 1, 2, 3]
        assert [kind(event) for event in events if kind(event) in ("result", "error")] == ["result"]


async def test_what_the_edge_sends_a_second_time_is_not_run_again_here() -> None:
    async with world() as running:
        running.fill.faults = [UNAVAILABLE]
        error = await failure(running.stub.Edit(request(), metadata=(("x-envoy-attempt-count", "2"),)))
        assert type(error) is ServiceUnavailable
        assert running.fill.calls == 1
        running.fill.faults = [UNAVAILABLE]
        assert (await running.stub.Edit(request(), metadata=(("x-envoy-attempt-count", "1"),))).success


@pytest.mark.parametrize("count", ["9" * 6000, "x", "-1"])
async def test_an_attempt_count_that_is_no_small_number_is_a_first_attempt(count: str) -> None:
    async with world() as running:
        running.fill.faults = [UNAVAILABLE]
        assert (await running.stub.Edit(request(), metadata=(("x-envoy-attempt-count", count),))).success


async def test_a_service_that_is_not_there_is_named_at_once() -> None:
    async with world() as running:
        await running.servers["fill"].drain()
        started = time.monotonic()
        error = await failure(running.stub.Edit(request()))
        assert time.monotonic() - started < 2
        assert type(error) is ServiceUnavailable
        assert error.stage == "fill"


async def test_the_wait_for_a_lost_service_ends_with_the_deadline() -> None:
    async with world(rerun_wait_seconds=60) as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request(), timeout=3))
        await running.fill.begun.wait()
        await running.servers["fill"].drain()
        started = time.monotonic()
        error = await failure(edit)
        assert time.monotonic() - started < 3.5
        assert isinstance(error, ServiceUnavailable | DeadlineExceeded)


async def test_a_lost_service_is_given_the_time_that_is_set() -> None:
    async with world(rerun_wait_seconds=0.5) as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request()))
        await running.fill.begun.wait()
        await running.servers["fill"].drain()
        started = time.monotonic()
        assert type(await failure(edit)) is ServiceUnavailable
        assert 0.4 < time.monotonic() - started < 3


async def test_every_stage_gets_the_callers_time_less_a_margin() -> None:
    async with world() as running:
        await running.stub.Edit(request(), timeout=20)
        for script in (running.segmentation, running.fill):
            assert 10 < script.time_left[0] < 20
        # gRPC rounds a timeout on the wire, so the later stage may seem to have a millisecond more.
        assert running.fill.time_left[0] <= running.segmentation.time_left[0] + 0.05


async def test_without_a_deadline_that_of_the_catalogue_applies() -> None:
    async with world() as running:
        await running.stub.Edit(request())
        assert 270 < running.fill.time_left[0] < 300


@pytest.mark.parametrize("service", ["segmentation", "fill"])
async def test_a_passed_deadline_ends_the_work_and_names_itself(service: str) -> None:
    async with world() as running:
        running.scripts[service].gate.clear()
        [*_, last] = await all_of(running.stub.EditStream(request(), timeout=1.0))
        assert type(from_status(last.error)) is DeadlineExceeded
        await eventually(lambda: running.scripts[service].running == 0)
        running.scripts[service].gate.set()
        assert (await running.stub.Edit(request())).success


@pytest.mark.parametrize("service", ["segmentation", "fill"])
async def test_a_caller_that_leaves_ends_every_stage_within_a_step(service: str) -> None:
    async with world() as running:
        script = running.scripts[service]
        script.steps, script.seconds_per_step = 1000, 0.05
        call = running.stub.EditStream(request())
        reading = asyncio.create_task(all_of(call))
        await eventually(lambda: script.steps_done >= 3)
        call.cancel()
        left_at = script.steps_done
        with pytest.raises(asyncio.CancelledError):
            await reading
        await eventually(lambda: script.cancelled == 1)
        assert script.steps_done <= left_at + 2
        assert running.segmentation.running == running.fill.running == 0


async def test_both_stages_that_run_at_once_are_ended() -> None:
    async with world() as running:
        for script in (running.segmentation, running.fill):
            script.gate.clear()
        outpaint = edit_pb2.Outpaint(left=16)
        call = running.stub.EditStream(request(feature_id="outpainting", outpaint=outpaint))
        reading = asyncio.create_task(all_of(call))
        await eventually(lambda: running.segmentation.running == running.fill.running == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await eventually(lambda: running.segmentation.cancelled == running.fill.cancelled == 1)
