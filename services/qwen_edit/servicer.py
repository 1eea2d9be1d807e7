"""QwenEditService: decode → queue → encode.

Knows proto types and the engine, not torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from imgedit import remarks
from imgedit.errors import InvalidArgument
from imgedit.imaging.pixels import Pixels
from imgedit.inference.v1 import image_pb2, qwen_edit_pb2, qwen_edit_pb2_grpc, steps_pb2
from imgedit.v1 import progress_pb2
from services.common import checks, image_messages
from services.common.call_context import Context, deadline_of
from services.diffusion import streaming
from services.diffusion.engine.events import Finished
from services.diffusion.job_requests import ChooseLoras, Profiles, read_job_options
from services.diffusion.service import EngineSlot
from services.qwen_edit import limits
from services.qwen_edit.spec import QwenEditSpec

if TYPE_CHECKING:
    from services.qwen_edit.model import QwenEditAdapter

MAX_IMAGES = 3
DEFAULT_TRUE_CFG_SCALE = 4.0


class QwenEditServicer(qwen_edit_pb2_grpc.QwenEditServiceServicer):
    """Serves Edit with an engine that owns the model."""

    def __init__(self, slot: EngineSlot, *, max_pixels: int, profiles: Profiles) -> None:
        self._slot = slot
        self._max_pixels = max_pixels
        self._profiles = profiles

    async def Edit(
        self, request: qwen_edit_pb2.QwenEditRequest, context: Context
    ) -> AsyncIterator[qwen_edit_pb2.QwenEditEvent]:
        """Edit one image with progress events."""
        engine = self._slot.get()
        adapter = cast("QwenEditAdapter", engine.adapter)
        spec = await asyncio.to_thread(read_spec, request, self._max_pixels, self._profiles, adapter.chosen_loras)
        warnings = await asyncio.to_thread(adapter.warnings, spec)

        def result(finished: Finished[streaming.Output]) -> qwen_edit_pb2.QwenEditEvent:
            return qwen_edit_pb2.QwenEditEvent(
                result=qwen_edit_pb2.QwenEditResult(
                    image=image_messages.to_message(finished.output),
                    seed=spec.seed,
                    steps_run=finished.steps_run,
                    full_steps=finished.full_steps,
                    model=progress_pb2.ModelInfo(model_id=adapter.name, revision=adapter.revision),
                    timings=streaming.timings(finished),
                    warnings=remarks.english(warnings),
                    korean_warnings=remarks.korean(warnings),
                )
            )

        async with aclosing(
            engine.run_job(spec, deadline=deadline_of(context), preview_every=request.preview_every)
        ) as events:
            async for message in streaming.to_messages(events, qwen_edit_pb2.QwenEditEvent, result):
                yield message

    async def EstimateEdit(self, request: qwen_edit_pb2.QwenEditRequest, context: Context) -> steps_pb2.JobEstimate:
        """Estimate the course of an edit, without running it."""
        engine = self._slot.get()
        adapter = cast("QwenEditAdapter", engine.adapter)
        spec = await asyncio.to_thread(read_spec, request, self._max_pixels, self._profiles, adapter.chosen_loras)
        return streaming.estimate(engine.outlook(spec, deadline=deadline_of(context)))


def read_spec(
    request: qwen_edit_pb2.QwenEditRequest, max_pixels: int, profiles: Profiles, choose_loras: ChooseLoras
) -> QwenEditSpec:
    """Check a request and decode its images.

    Raises `InvalidArgument` that names the field.
    """
    if not 1 <= len(request.images) <= MAX_IMAGES:
        raise InvalidArgument.field("images", f"must hold 1 to {MAX_IMAGES} pictures, holds {len(request.images)}")
    checks.prompt("prompt", request.prompt)
    checks.prompt("negative_prompt", request.negative_prompt, may_be_blank=True)
    limits.check_prompt("prompt", request.prompt)
    limits.check_prompt("negative_prompt", request.negative_prompt)
    options = read_job_options(request, profiles, choose_loras)
    true_cfg_scale = request.true_cfg_scale if request.HasField("true_cfg_scale") else DEFAULT_TRUE_CFG_SCALE
    checks.number("true_cfg_scale", true_cfg_scale, 1, 15)
    pictures = tuple(
        image_messages.read_rgb(image, field=f"images[{index}]", max_pixels=max_pixels)
        for index, image in enumerate(request.images)
    )
    for index, image in enumerate(pictures):
        limits.check_aspect(f"images[{index}]", image)
    return QwenEditSpec(
        images=pictures,
        true_cfg_scale=true_cfg_scale,
        mask=read_mask(request, pictures[0], max_pixels) if request.HasField("mask") else None,
        **vars(options),
    )


def read_mask(request: qwen_edit_pb2.QwenEditRequest, picture: Pixels, max_pixels: int) -> Pixels:
    """The request's mask, (H, W) uint8 of the first image's size.

    Raises `InvalidArgument` that names the field.
    """
    if request.mask.encoding != image_pb2.ENCODING_RAW_L8:
        raise InvalidArgument.field("mask.encoding", f"must be ENCODING_RAW_L8 (5), is {request.mask.encoding}")
    height, width = picture.shape[:2]
    return image_messages.read_mask(request.mask, field="mask", size=(width, height), max_pixels=max_pixels)
