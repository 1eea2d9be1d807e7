"""FillService and QwenEditService with real gRPC and tiny real checkpoints."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel, QwenImageTransformer2DModel
from grpc_health.v1 import health_pb2, health_pb2_grpc
from safetensors.torch import load_file, save_file

from imgedit.call_errors import error_of
from imgedit.errors import (
    FailedPrecondition,
    ImgeditError,
    InvalidArgument,
    OutOfMemory,
    PromptLanguageUnsupported,
    PromptRejected,
    ServiceUnavailable,
)
from imgedit.inference.v1 import fill_pb2, fill_pb2_grpc, image_pb2, qwen_edit_pb2, qwen_edit_pb2_grpc
from imgedit.v1 import profile_pb2
from services.common import image_messages
from services.common.server import RunningServer
from services.fill.__main__ import make_service as make_fill
from services.fill.settings import FillSettings
from services.qwen_edit.__main__ import make_service as make_qwen_edit
from services.qwen_edit.settings import QwenEditSettings
from tests.support.engine import write_lora
from tests.support.lightning import lightning_file

pytestmark = pytest.mark.slow

RGB = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
MASK = np.zeros((96, 128), np.uint8)
MASK[:, :64] = 255


TEXT_PART_WARNING = "has a part for text encoders (1 of its entries)"


def with_a_text_part(lora: Path) -> Path:
    """The same file with an entry for a text encoder."""
    save_file({**load_file(lora), "text_encoder.layer.lora_A.weight": torch.ones(4, 4)}, lora)
    return lora


@pytest.fixture
async def fill(models: Path) -> AsyncIterator[RunningServer]:
    settings = FillSettings(models=models, port=0, metrics_port=0, drain_seconds=0, grace_seconds=5)
    server = RunningServer(make_fill(settings), settings)
    await server.start()
    yield server
    await server.drain()


@pytest.fixture
async def qwen_edit(models: Path) -> AsyncIterator[RunningServer]:
    settings = QwenEditSettings(
        models=models, reference_pixels=128 * 128, port=0, metrics_port=0, drain_seconds=0, grace_seconds=5
    )
    server = RunningServer(make_qwen_edit(settings), settings)
    await server.start()
    yield server
    await server.drain()


def fill_request(**changes: object) -> fill_pb2.FillRequest:
    fields: dict[str, object] = {"steps": 4, "seed": 7, **changes}
    return fill_pb2.FillRequest(
        image=image_messages.to_message(RGB),
        mask=image_messages.to_message(MASK),
        prompt="a gym",
        **fields,  # type: ignore[arg-type]
    )


async def run_fill(server: RunningServer, request: fill_pb2.FillRequest) -> list[fill_pb2.FillEvent]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return [event async for event in fill_pb2_grpc.FillServiceStub(channel).Fill(request, timeout=60)]


async def run_qwen(server: RunningServer, request: qwen_edit_pb2.QwenEditRequest) -> list[qwen_edit_pb2.QwenEditEvent]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        return [event async for event in qwen_edit_pb2_grpc.QwenEditServiceStub(channel).Edit(request, timeout=60)]


async def refusal(server: RunningServer, request: fill_pb2.FillRequest) -> ImgeditError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_fill(server, request)
    return error_of(caught.value, "fill")


async def test_fill_reports_every_step_and_ends_with_one_result(fill: RunningServer) -> None:
    events = await run_fill(fill, fill_request())
    kinds = [event.WhichOneof("event") for event in events]
    assert [event.progress.step for event in events if event.HasField("progress")] == [1, 2, 3, 4]
    assert kinds.count("result") == 1
    assert kinds[-1] == "result"
    result = events[-1].result
    assert image_messages.decode_image(result.image).shape == RGB.shape
    assert (result.seed, result.steps_run, result.model.model_id) == (7, 4, "FLUX.1-Fill")
    assert {"prepare", "denoise", "decode"} <= {timing.name for timing in result.timings}


async def test_fill_estimates_a_job_once_it_has_run_one(fill: RunningServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fill.port}") as channel:
        stub = fill_pb2_grpc.FillServiceStub(channel)
        unknown = await stub.EstimateFill(fill_request(), timeout=60)
        assert (unknown.position, unknown.queue_seconds, unknown.HasField("work_seconds")) == (0, 0, False)
        await run_fill(fill, fill_request())
        known = await stub.EstimateFill(fill_request(), timeout=60)
        longer = await stub.EstimateFill(fill_request(steps=8), timeout=60)
        assert longer.work_seconds > known.work_seconds > 0
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.EstimateFill(fill_request(steps=101), timeout=60)
        assert isinstance(error_of(refused.value, "here"), InvalidArgument)


async def test_region_steps_are_run_where_they_are_turned_on_and_counted(models: Path) -> None:
    settings = FillSettings(models=models, region_steps=True, port=0, metrics_port=0, drain_seconds=0, grace_seconds=5)
    server = RunningServer(make_fill(settings), settings)
    await server.start()
    try:
        found = [
            (await run_fill(server, fill_request(steps=8, **changes)))[-1].result
            for changes in ({}, {"region_steps": True}, {"region_steps": False}, {"profile": profile_pb2.PROFILE_HIGH})
        ]
    finally:
        await server.drain()
    assert [result.steps_run for result in found] == [8] * 4
    unset, asked, forbidden, high = found
    assert 2 <= unset.full_steps == asked.full_steps < 8
    assert forbidden.full_steps == high.full_steps == 8
    assert unset.image.data == asked.image.data != forbidden.image.data == high.image.data


async def test_region_steps_that_are_turned_off_cannot_be_asked_for(fill: RunningServer) -> None:
    refused = await refusal(fill, fill_request(region_steps=True))
    assert isinstance(refused, FailedPrecondition)
    assert "REGION_STEPS" in refused.message
    assert (await run_fill(fill, fill_request()))[-1].result.full_steps == 4


async def test_the_same_seed_gives_the_same_bytes_and_another_does_not(fill: RunningServer) -> None:
    first, again, other = [(await run_fill(fill, fill_request(seed=seed)))[-1].result.image.data for seed in (7, 7, 8)]
    assert first == again
    assert first != other


async def test_an_unset_seed_is_drawn_and_returned(fill: RunningServer) -> None:
    request = fill_request()
    request.ClearField("seed")
    drawn = (await run_fill(fill, request))[-1].result
    again = (await run_fill(fill, fill_request(seed=drawn.seed)))[-1].result
    assert drawn.image.data == again.image.data


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 101}, "steps"),
        ({"guidance_scale": float("nan")}, "guidance_scale"),
        ({"strength": 1.5}, "strength"),
        ({"negative_scale": 3.0}, "negative_scale"),
        ({"negative_scale": 0.0, "negative_prompt": "x"}, "negative_scale"),
        ({"image": image_pb2.Image()}, "image.encoding"),
        ({"mask": image_messages.to_message(MASK[:, :64])}, "mask"),
        ({"image": image_messages.to_message(RGB[:90]), "mask": image_messages.to_message(MASK[:90])}, "image"),
    ],
)
async def test_a_bad_field_is_named(fill: RunningServer, changes: dict[str, object], field: str) -> None:
    request = fill_request()
    for name, value in changes.items():
        if isinstance(value, image_pb2.Image):
            getattr(request, name).CopyFrom(value)
        else:
            setattr(request, name, value)
    error = await refusal(fill, request)
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == field


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
async def test_letters_that_t5_does_not_know_never_reach_flux(fill: RunningServer, field: str) -> None:
    request = fill_request()
    setattr(request, field, "배경을 현대적인 체육관으로 변경")
    error = await refusal(fill, request)
    assert type(error) is PromptLanguageUnsupported
    assert error.violations[0].field == field


async def test_what_is_cut_off_a_prompt_is_told(fill: RunningServer) -> None:
    request = fill_request()
    assert not (await run_fill(fill, request))[-1].result.warnings
    request.prompt = "a bright modern gym " * 5
    (warning,) = (await run_fill(fill, request))[-1].result.warnings
    assert "first 77" in warning


async def test_an_empty_prompt_is_rejected(fill: RunningServer) -> None:
    request = fill_request()
    request.prompt = " "
    assert type(await refusal(fill, request)) is PromptRejected


async def test_health_answers_at_once_while_the_model_works(fill: RunningServer) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fill.port}") as channel:
        checks = health_pb2_grpc.HealthStub(channel)
        await checks.Check(health_pb2.HealthCheckRequest())
        work = asyncio.create_task(run_fill(fill, fill_request(steps=60)))
        seconds = []
        while not work.done():
            started = time.perf_counter()
            await checks.Check(health_pb2.HealthCheckRequest())
            seconds.append(time.perf_counter() - started)
            await asyncio.sleep(0.02)
        await work
    assert len(seconds) >= 5
    assert sorted(seconds)[len(seconds) // 2] < 0.5  # a few milliseconds where the cores are not shared


async def test_a_client_that_leaves_does_not_disturb_the_next(fill: RunningServer) -> None:
    alone = (await run_fill(fill, fill_request()))[-1].result.image.data
    async with grpc.aio.insecure_channel(f"127.0.0.1:{fill.port}") as channel:
        call = fill_pb2_grpc.FillServiceStub(channel).Fill(fill_request(steps=100))
        async for event in call:
            if event.HasField("progress"):
                break
        call.cancel()
        started = time.perf_counter()
        after = (await run_fill(fill, fill_request()))[-1].result.image.data
    assert after == alone
    assert time.perf_counter() - started < 20


async def test_out_of_memory_is_told_with_advice_in_two_languages_and_the_next_request_works(
    fill: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward, failures = FluxTransformer2DModel.forward, [torch.OutOfMemoryError("CUDA out of memory.")] * 2

    def short_of_memory(*arguments: Any, **inputs: Any) -> Any:
        if failures:
            raise failures.pop()
        return forward(*arguments, **inputs)

    before = await run_fill(fill, fill_request())
    monkeypatch.setattr(FluxTransformer2DModel, "forward", short_of_memory)
    error = await refusal(fill, fill_request(seed=8))
    assert isinstance(error, OutOfMemory)
    assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    for advice in ("smaller picture (2048 → 1024)", "smaller model"):
        assert advice in error.message
    for advice in ("이미지 크기를 줄이거나(2048 → 1024)", "더 작은 모델"):
        assert advice in error.korean
    after = await run_fill(fill, fill_request())
    assert after[-1].result.image == before[-1].result.image


async def test_qwen_estimates_a_job_once_it_has_run_one(qwen_edit: RunningServer) -> None:
    request = qwen_edit_pb2.QwenEditRequest(
        images=[image_messages.to_message(RGB)], prompt="운동복을 빨간색으로 변경", steps=2, seed=1
    )
    async with grpc.aio.insecure_channel(f"127.0.0.1:{qwen_edit.port}") as channel:
        stub = qwen_edit_pb2_grpc.QwenEditServiceStub(channel)
        assert not (await stub.EstimateEdit(request, timeout=60)).HasField("work_seconds")
        await run_qwen(qwen_edit, request)
        assert (await stub.EstimateEdit(request, timeout=60)).work_seconds > 0


async def test_qwen_edits_one_to_three_pictures(qwen_edit: RunningServer) -> None:
    others = [RGB[:50, :70], RGB[:33, :99]]
    for count in (1, 2, 3):
        images = [image_messages.to_message(np.ascontiguousarray(image)) for image in (RGB, *others)[:count]]
        request = qwen_edit_pb2.QwenEditRequest(images=images, prompt="운동복을 빨간색으로 변경", steps=2, seed=1)
        events = await run_qwen(qwen_edit, request)
        assert image_messages.decode_image(events[-1].result.image).shape == RGB.shape
        assert events[-1].result.model.model_id == "Qwen-Image-Edit-2509"


@pytest.mark.parametrize("steps", [4, 8])
async def test_the_fast_profile_of_qwen_runs_one_pass_a_step(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "Qwen-Image-Edit-2509").symlink_to((models / "Qwen-Image-Edit-2509").resolve())
    lora = with_a_text_part(lightning_file(folder))
    passes: list[bool] = []
    forward = QwenImageTransformer2DModel.forward

    def counted(transformer: QwenImageTransformer2DModel, *args: Any, **inputs: Any) -> Any:
        passes.append(True)
        return forward(transformer, *args, **inputs)

    monkeypatch.setattr(QwenImageTransformer2DModel, "forward", counted)
    settings = QwenEditSettings(models=folder, lora_fast=lora.name, port=0, metrics_port=0, drain_seconds=0)
    server = RunningServer(make_qwen_edit(settings), settings)
    await server.start()
    passes.clear()
    request = qwen_edit_pb2.QwenEditRequest(
        images=[image_messages.to_message(RGB)],
        prompt="a gym",
        negative_prompt="blurry",
        true_cfg_scale=1.0,
        steps=steps,
        seed=1,
        profile=profile_pb2.PROFILE_FAST,
    )
    events = await run_qwen(server, request)
    await server.drain()
    assert len(passes) == events[-1].result.steps_run == steps
    assert TEXT_PART_WARNING in events[-1].result.warnings[0]


async def test_qwen_refuses_no_and_too_many_pictures(qwen_edit: RunningServer) -> None:
    for count in (0, 4):
        request = qwen_edit_pb2.QwenEditRequest(images=[image_messages.to_message(RGB)] * count, prompt="a gym")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await run_qwen(qwen_edit, request)
        error = error_of(caught.value, "qwen_edit")
        assert isinstance(error, InvalidArgument)
        assert error.violations[0].field == "images"


async def test_qwen_leaves_the_pixels_outside_its_mask_byte_for_byte(qwen_edit: RunningServer) -> None:
    request = qwen_edit_pb2.QwenEditRequest(
        images=[image_messages.to_message(RGB)], mask=image_messages.to_message(MASK), prompt="a gym", steps=2, seed=1
    )
    answer = image_messages.decode_image((await run_qwen(qwen_edit, request))[-1].result.image)
    assert np.array_equal(answer[MASK == 0], RGB[MASK == 0])
    assert not np.array_equal(answer[MASK > 0], RGB[MASK > 0])


@pytest.mark.parametrize(
    ("mask", "field"),
    [
        (image_messages.to_message(np.zeros_like(MASK)), "mask"),
        (image_messages.to_message(MASK[:, :64]), "mask"),
        (image_messages.png_message(MASK), "mask.encoding"),
        (image_messages.to_message(RGB), "mask.encoding"),
        (image_pb2.Image(), "mask.encoding"),
        (image_pb2.Image(data=b"abc", encoding=image_pb2.ENCODING_RAW_L8, width=128, height=96), "mask.data"),
    ],
)
async def test_qwen_refuses_a_mask_that_it_cannot_use(
    qwen_edit: RunningServer, mask: image_pb2.Image, field: str
) -> None:
    request = qwen_edit_pb2.QwenEditRequest(images=[image_messages.to_message(RGB)], mask=mask, prompt="a gym")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_qwen(qwen_edit, request)
    error = error_of(caught.value, "qwen_edit")
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == field


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("marker", ["<|image_pad|>", "<|im_end|>", "<|vision_start|>"])
async def test_qwen_refuses_a_prompt_with_a_marker_of_its_own(
    qwen_edit: RunningServer, field: str, marker: str
) -> None:
    texts = {"prompt": "a gym", "negative_prompt": "blurry", field: f"a {marker} gym"}
    request = qwen_edit_pb2.QwenEditRequest(images=[image_messages.to_message(RGB)], **texts)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_qwen(qwen_edit, request)
    error = error_of(caught.value, "qwen_edit")
    assert type(error) is PromptRejected
    assert error.violations[0].field == field


async def test_qwen_refuses_a_picture_too_long_for_its_eyes(qwen_edit: RunningServer) -> None:
    long = image_messages.to_message(np.zeros((16, 3216, 3), np.uint8))
    request = qwen_edit_pb2.QwenEditRequest(images=[image_messages.to_message(RGB), long], prompt="a gym")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await run_qwen(qwen_edit, request)
    error = error_of(caught.value, "qwen_edit")
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == "images[1]"


async def test_a_negative_prompt_changes_the_picture_only_with_guidance(qwen_edit: RunningServer) -> None:
    async def edited(**options: object) -> bytes:
        request = qwen_edit_pb2.QwenEditRequest(
            images=[image_messages.to_message(RGB)],
            prompt="a gym",
            steps=2,
            seed=1,
            **options,  # type: ignore[arg-type]
        )
        return (await run_qwen(qwen_edit, request))[-1].result.image.data

    plain = await edited()
    assert await edited(negative_prompt="blurry", true_cfg_scale=1.0) == plain
    assert await edited(negative_prompt="blurry", true_cfg_scale=8.0) != plain


async def test_a_call_before_the_model_is_loaded_is_told_to_wait(models: Path) -> None:
    settings = FillSettings(models=models, port=0, metrics_port=0, drain_seconds=0, grace_seconds=1)
    server = RunningServer(make_fill(settings), settings)
    starting = asyncio.create_task(server.start())
    while server.port == 0:  # noqa: ASYNC110  # the server tells nobody that it has a port
        await asyncio.sleep(0.01)
    error = await refusal(server, fill_request())
    assert type(error) is ServiceUnavailable
    assert "loading" in error.message
    await starting
    await server.drain()


async def test_the_fast_profile_is_refused_where_there_is_no_lora(fill: RunningServer) -> None:
    error = await refusal(fill, fill_request(profile=profile_pb2.PROFILE_FAST))
    assert type(error) is FailedPrecondition
    assert "LORA_FAST" in error.message


async def test_the_fast_profile_runs_through_its_lora_and_the_others_do_not(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "FLUX.1-Fill-dev").symlink_to((models / "FLUX.1-Fill-dev").resolve())
    transformer = FluxTransformer2DModel.from_pretrained(models / "FLUX.1-Fill-dev" / "transformer")
    with torch.random.fork_rng(devices=[]):
        lora = with_a_text_part(write_lora(folder, transformer))
    settings = FillSettings(models=folder, lora_fast=lora.name, port=0, metrics_port=0, drain_seconds=0)
    server = RunningServer(make_fill(settings), settings)
    await server.start()
    fast, balanced, high = [
        (await run_fill(server, fill_request(profile=profile)))[-1].result
        for profile in (profile_pb2.PROFILE_FAST, profile_pb2.PROFILE_BALANCED, profile_pb2.PROFILE_HIGH)
    ]
    await server.drain()
    assert fast.image.data != balanced.image.data
    assert balanced.image.data == high.image.data
    assert TEXT_PART_WARNING in fast.warnings[0]
    assert not balanced.warnings
    assert not high.warnings
