"""FillService: decode → queue → encode. Knows proto types and the engine, not torch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from imgedit.errors import InvalidArgument
from imgedit.v1 import fill_pb2, fill_pb2_grpc, progress_pb2
from services.common import checks, deadline, pixels
from services.common.deadline import Context
from services.diffusion import relay
from services.diffusion.events import Finished
from services.diffusion.service import EngineSlot
from services.fill.spec import FillSpec

MODEL_ID = "FLUX.1-Fill"

DEFAULT_STEPS = 28
DEFAULT_GUIDANCE_SCALE = 3.5
DEFAULT_NEGATIVE_SCALE = 3.0
DEFAULT_STRENGTH = 1.0


class FillServicer(fill_pb2_grpc.FillServiceServicer):
    """Serves Fill with an engine that owns the model."""

    def __init__(self, slot: EngineSlot, *, max_pixels: int, profiles: relay.Profiles) -> None:
        self._slot = slot
        self._max_pixels = max_pixels
        self._profiles = profiles

    async def Fill(self, request: fill_pb2.FillRequest, context: Context) -> AsyncIterator[fill_pb2.FillEvent]:
        """Repaint one region, reporting on the way."""
        engine = self._slot.get()
        spec = await asyncio.to_thread(read_spec, request, self._max_pixels, self._profiles)

        def result(finished: Finished[relay.Output]) -> fill_pb2.FillEvent:
            return fill_pb2.FillEvent(
                result=fill_pb2.FillResult(
                    image=pixels.to_message(finished.output),
                    seed=spec.seed,
                    steps_run=finished.steps_run,
                    model=progress_pb2.ModelInfo(model_id=MODEL_ID, revision=engine.adapter.revision),
                    timings=relay.timings(finished),
                )
            )

        async with aclosing(
            engine.run(spec, deadline=deadline.of(context), preview_every=request.preview_every)
        ) as events:
            async for message in relay.relay(events, fill_pb2.FillEvent, result):
                yield message


def read_spec(request: fill_pb2.FillRequest, max_pixels: int, profiles: relay.Profiles) -> FillSpec:
    """Check a request and decode its pictures. Raises `InvalidArgument` naming the field."""
    checks.prompt("prompt", request.prompt)
    checks.prompt("negative_prompt", request.negative_prompt, may_be_blank=True)
    if request.HasField("negative_scale") and not request.HasField("negative_prompt"):
        raise InvalidArgument.field("negative_scale", "has no effect without negative_prompt; leave it out")
    steps = request.steps if request.HasField("steps") else DEFAULT_STEPS
    guidance_scale = request.guidance_scale if request.HasField("guidance_scale") else DEFAULT_GUIDANCE_SCALE
    negative_scale = request.negative_scale if request.HasField("negative_scale") else DEFAULT_NEGATIVE_SCALE
    strength = request.strength if request.HasField("strength") else DEFAULT_STRENGTH
    checks.number("steps", steps, 1, relay.MAX_STEPS)
    checks.number("guidance_scale", guidance_scale, 0, 100)
    checks.number("negative_scale", negative_scale, 1, 10)
    checks.number("strength", strength, 0, 1)
    checks.number("preview_every", request.preview_every, 0, relay.MAX_STEPS)
    image = pixels.read_rgb(request.image, field="image", max_pixels=max_pixels)
    height, width = image.shape[:2]
    return FillSpec(
        image=image,
        mask=pixels.read_mask(request.mask, field="mask", size=(width, height), max_pixels=max_pixels),
        prompt=request.prompt,
        negative_prompt=request.negative_prompt if request.HasField("negative_prompt") else None,
        negative_scale=negative_scale,
        steps=steps,
        guidance_scale=guidance_scale,
        strength=strength,
        seed=request.seed if request.HasField("seed") else relay.draw_seed(),
        lora=profiles.lora(request.profile),
        step_cache=profiles.step_cache(request.profile),
    )
