"""EstimateEdit over real gRPC.

The services tell the expected course of a job, and none runs.
"""

from __future__ import annotations

import asyncio
import io

import grpc
import numpy as np
import pytest
from PIL import Image

from imgedit import tokens
from imgedit.call_errors import error_of
from imgedit.errors import (
    ImageRejected,
    ImgeditError,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
    TooManyEdits,
    Unauthenticated,
)
from imgedit.inference.v1 import steps_pb2
from imgedit.v1 import edit_pb2
from services.common import image_messages

from .scripted import picture, request, world

pytestmark = pytest.mark.slow

KNOWN = steps_pb2.JobEstimate(position=2, queue_seconds=4, work_seconds=8)


async def failure(call: object) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call  # type: ignore[misc]
    return error_of(caught.value, "here")


def corner_mask() -> bytes:
    mask = np.zeros((480, 640), np.uint8)
    mask[:60, :60] = 255
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()


async def test_an_estimate_adds_queue_work_and_the_rest_and_runs_nothing() -> None:
    async with world() as running:
        assert await running.stub.EstimateEdit(request()) == edit_pb2.EstimateEditResponse()
        running.fill.estimate = KNOWN
        found = await running.stub.EstimateEdit(request())
        assert (found.seconds, found.queue_seconds, found.queue_position) == (12, 4, 2)
        assert (running.fill.calls, running.segmentation.calls) == (0, 0)
        answer = await running.stub.Edit(request())
        painting = sum(timing.seconds for timing in answer.stage_timings if timing.name == "fill")
        learnt = await running.stub.EstimateEdit(request())
        assert learnt.seconds == pytest.approx(12 + answer.elapsed_time - painting)
        assert running.fill.calls == 1


async def test_the_service_is_asked_for_the_job_that_the_edit_would_send() -> None:
    async with world() as running:
        asked = request(input_image=picture(640, 480), mask_image=corner_mask(), steps=12, negative_prompt="blur")
        await running.stub.EstimateEdit(asked)
        await running.stub.Edit(asked)
        [estimated], [painted] = running.fill.estimated, running.fill.requests
        assert (estimated.image.width, estimated.image.height) == (painted.image.width, painted.image.height)
        assert estimated.mask == painted.mask
        for message in (estimated, painted):
            message.ClearField("image")
        assert estimated == painted


async def test_without_a_mask_the_whole_picture_counts_as_masked() -> None:
    async with world() as running:
        await running.stub.EstimateEdit(request())
        [estimated] = running.fill.estimated
        mask = image_messages.read_mask(
            estimated.mask, field="mask", size=(estimated.image.width, estimated.image.height), max_pixels=2**30
        )
        assert mask.min() == 255


async def test_a_prompt_that_would_be_translated_needs_no_translation() -> None:
    async with world() as running:
        await running.stub.EstimateEdit(request(prompt="밝은 체육관"))
        assert running.fill.estimated[0].prompt.isascii()


async def test_references_and_margins_count() -> None:
    async with world() as running:
        await running.stub.EstimateEdit(
            request(
                experiment_id="ben2_qwen_image",
                feature_id="multi_image_editing",
                reference_images=[picture(48, 64)],
            )
        )
        [estimated] = running.scripts["qwen_edit"].estimated
        assert len(estimated.images) == 2
        margins = edit_pb2.Outpaint(left=64)
        await running.stub.EstimateEdit(request(feature_id="outpainting", outpaint=margins))
        await running.stub.Edit(request(feature_id="outpainting", outpaint=margins))
        [wide], [painted] = running.fill.estimated, running.fill.requests
        assert (wide.image.width, wide.mask) == (painted.image.width, painted.mask)


async def test_a_feature_that_paints_nothing_is_estimated_from_its_past() -> None:
    async with world() as running:
        asked = edit_pb2.EditRequest(experiment_id="ben2", input_image=picture())
        assert not (await running.stub.EstimateEdit(asked)).HasField("seconds")
        answer = await running.stub.Edit(asked)
        found = await running.stub.EstimateEdit(asked)
        assert found.seconds == pytest.approx(answer.elapsed_time)
        assert found.queue_seconds == 0


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ({"steps": 99}, InvalidArgument, "steps"),
        ({"prompt": ""}, InvalidArgument, "prompt"),
        ({"input_image": picture()[:200]}, ImageRejected, "input_image"),
        ({"mask_image": picture(8, 8)}, ImgeditError, "mask_image"),
        ({"experiment_id": "none"}, NotFound, "none"),
        ({"feature_id": "outpainting", "outpaint": edit_pb2.Outpaint(left=5000)}, InvalidArgument, "outpaint.left"),
    ],
)
async def test_a_request_that_an_edit_would_refuse_is_refused(
    fields: dict[str, object], kind: type[ImgeditError], said: str
) -> None:
    async with world() as running:
        error = await failure(running.stub.EstimateEdit(request(**fields)))
        assert isinstance(error, kind)
        assert said in error.message
        assert error.message == (await failure(running.stub.Edit(request(**fields)))).message


async def test_a_full_server_still_estimates_but_not_without_bound() -> None:
    async with world(max_edits=1) as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request()))
        await running.fill.begun.wait()
        running.fill.estimate = KNOWN
        assert (await running.stub.EstimateEdit(request())).queue_position == 2
        running.fill.gate.set()
        await edit
    async with world(max_edit_bytes=2**20) as running:
        running.fill.gate.clear()
        edit = asyncio.ensure_future(running.stub.Edit(request()))
        await running.fill.begun.wait()
        large = request(input_image=picture(400, 400))
        assert isinstance(await failure(running.stub.EstimateEdit(large)), TooManyEdits)
        running.fill.gate.set()
        await edit
        await running.stub.EstimateEdit(large)


async def test_a_service_that_does_not_answer_is_named() -> None:
    async with world(fill="127.0.0.1:1") as running:
        error = await failure(running.stub.EstimateEdit(request()))
        assert isinstance(error, ServiceUnavailable)
        assert error.stage == "fill"


async def test_an_estimate_needs_the_scope_of_an_edit() -> None:
    secret, credential = tokens.make_token("app", ["list"])
    async with world(tokens=credential.line) as running:
        assert isinstance(await failure(running.stub.EstimateEdit(request())), Unauthenticated)
        metadata = (("authorization", f"Bearer {secret}"),)
        refused = await failure(running.stub.EstimateEdit(request(), metadata=metadata))
        assert "needs the scope 'edit'" in refused.message
