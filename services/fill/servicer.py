"""FillService: decode → queue → encode.

Knows proto types and the engine, not torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, cast

from imgedit import remarks
from imgedit.errors import InvalidArgument, PromptLanguageUnsupported, Violation
from imgedit.inference.v1 import fill_pb2, fill_pb2_grpc, steps_pb2
from imgedit.v1 import progress_pb2
from services.common import checks, image_messages, languages
from services.common.call_context import Context, deadline_of
from services.diffusion import streaming
from services.diffusion.engine.events import Finished
from services.diffusion.job_requests import ChooseLoras, Profiles, read_job_options
from services.diffusion.service import EngineSlot
from services.fill.spec import FillSpec

if TYPE_CHECKING:
    from services.fill.model import FillAdapter

MODEL_ID = "FLUX.1-Fill"
READ = ("en",)
"""The languages that T5 reads, by their script."""

DEFAULT_GUIDANCE_SCALE = 3.5
DEFAULT_NEGATIVE_SCALE = 3.0


class FillServicer(fill_pb2_grpc.FillServiceServicer):
    """Serves Fill with an engine that owns the model."""

    def __init__(self, slot: EngineSlot, *, max_pixels: int, profiles: Profiles) -> None:
        self._slot = slot
        self._max_pixels = max_pixels
        self._profiles = profiles

    async def Fill(self, request: fill_pb2.FillRequest, context: Context) -> AsyncIterator[fill_pb2.FillEvent]:
        """Repaint one region with progress events."""
        engine = self._slot.get()
        adapter = cast("FillAdapter", engine.adapter)
        spec = await asyncio.to_thread(read_spec, request, self._max_pixels, self._profiles, adapter.chosen_loras)
        warnings = await asyncio.to_thread(adapter.warnings, spec)

        def result(finished: Finished[streaming.Output]) -> fill_pb2.FillEvent:
            return fill_pb2.FillEvent(
                result=fill_pb2.FillResult(
                    image=image_messages.to_message(finished.output),
                    seed=spec.seed,
                    steps_run=finished.steps_run,
                    full_steps=finished.full_steps,
                    model=progress_pb2.ModelInfo(model_id=MODEL_ID, revision=adapter.revision),
                    timings=streaming.timings(finished),
                    warnings=remarks.english(warnings),
                    korean_warnings=remarks.korean(warnings),
                )
            )

        async with aclosing(
            engine.run_job(spec, deadline=deadline_of(context), preview_every=request.preview_every)
        ) as events:
            async for message in streaming.to_messages(events, fill_pb2.FillEvent, result):
                yield message

    async def EstimateFill(self, request: fill_pb2.FillRequest, context: Context) -> steps_pb2.JobEstimate:
        """Estimate the course of a fill, without running it."""
        engine = self._slot.get()
        adapter = cast("FillAdapter", engine.adapter)
        spec = await asyncio.to_thread(read_spec, request, self._max_pixels, self._profiles, adapter.chosen_loras)
        return streaming.estimate(engine.outlook(spec, deadline=deadline_of(context)))


def read_spec(
    request: fill_pb2.FillRequest, max_pixels: int, profiles: Profiles, choose_loras: ChooseLoras
) -> FillSpec:
    """Check a request and decode its images.

    Raises `InvalidArgument` that names the field.
    """
    checks.prompt("prompt", request.prompt)
    checks.prompt("negative_prompt", request.negative_prompt, may_be_blank=True)
    _check_script("prompt", request.prompt)
    _check_script("negative_prompt", request.negative_prompt)
    if request.HasField("negative_scale") and not request.HasField("negative_prompt"):
        raise InvalidArgument.field("negative_scale", "has no effect without negative_prompt; leave it out")
    options = read_job_options(request, profiles, choose_loras)
    guidance_scale = request.guidance_scale if request.HasField("guidance_scale") else DEFAULT_GUIDANCE_SCALE
    negative_scale = request.negative_scale if request.HasField("negative_scale") else DEFAULT_NEGATIVE_SCALE
    checks.number("guidance_scale", guidance_scale, 0, 100)
    checks.number("negative_scale", negative_scale, 1, 10)
    image = image_messages.read_rgb(request.image, field="image", max_pixels=max_pixels)
    height, width = image.shape[:2]
    return FillSpec(
        image=image,
        mask=image_messages.read_mask(request.mask, field="mask", size=(width, height), max_pixels=max_pixels),
        negative_scale=negative_scale,
        guidance_scale=guidance_scale,
        **vars(options),
    )


def _check_script(field: str, text: str) -> None:
    """Reject letters without T5 tokens.

    Every such word would become the same unknown token.
    """
    if letter := languages.foreign_letter(text, READ):
        script = languages.script_of(letter).capitalize()
        description = f"T5 reads Latin letters only, and this holds {script} ({letter!r}); write it in English"
        raise PromptLanguageUnsupported(
            f"{field}: {description}",
            violations=[Violation(field, description)],
            metadata={"languages": ",".join(READ)},
        )
