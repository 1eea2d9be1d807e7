"""Typed calls of the model services over their stubs.

Turns arrays into messages and back. Knows proto types and addresses; knows nothing of experiments or chains, nor how a
call is made and made again (`stage_calls.py`).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import grpc

from imgedit import channels
from imgedit.errors import InternalError, ServiceUnavailable
from imgedit.imaging.pixels import Pixels
from imgedit.inference.v1 import (
    fill_pb2,
    fill_pb2_grpc,
    prompt_pb2,
    prompt_pb2_grpc,
    qwen_edit_pb2,
    qwen_edit_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
    steps_pb2,
)
from imgedit.v1 import profile_pb2, progress_pb2
from services.common import image_messages
from services.orchestrator import metering
from services.orchestrator.backends.stage_calls import StageCalls

_REWRITE_MODES = {"translate": prompt_pb2.REWRITE_MODE_TRANSLATE, "expand": prompt_pb2.REWRITE_MODE_EXPAND}

_IMAGE_FIELDS = {
    "images": "input_image",
    "images[0]": "input_image",
    "images[1]": "reference_images[0]",
    "images[2]": "reference_images[1]",
}
_SEGMENTATION_FIELDS = {"image": "input_image"}
_FILL_FIELDS = {"image": "input_image", "mask": "mask_image"}
_QWEN_EDIT_FIELDS = _IMAGE_FIELDS | {"mask": "mask_image", "true_cfg_scale": "guidance_scale"}
"""What an edit's caller calls the fields of the services' requests."""


@dataclass(frozen=True)
class ModelUse:
    """A model that worked on an edit."""

    model_id: str
    revision: str


@dataclass(frozen=True)
class Segmented:
    """(H, W) uint8 alpha, 255 = subject, at the size that was sent.

    foreground: (H, W, 3) uint8, the subject's own colours where the alpha is soft; None where it was not asked for.
    """

    alpha: Pixels
    foreground: Pixels | None
    model: ModelUse


@dataclass(frozen=True)
class Painted:
    """(H, W, 3) uint8 at the size that was sent.

    warnings: what the service says beside it, in English. full_steps: steps that computed the whole picture.
    """

    rgb: Pixels
    model: ModelUse
    warnings: tuple[str, ...] = ()
    full_steps: int = 0


@dataclass(frozen=True)
class PaintOptions:
    """What a model paints and how, whichever it is.

    guidance_scale: distilled guidance of FLUX.1-Fill, true classifier-free guidance of Qwen-Image-Edit. negative_scale:
    true classifier-free guidance of FLUX.1-Fill; None = the service's default. preview_every: steps, 0 = no previews.
    region_steps: whether most steps compute only what the mask asks for, None = as the service is set to.
    """

    prompt: str
    negative_prompt: str | None
    negative_scale: float | None
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    preview_every: int
    profile: profile_pb2.Profile
    region_steps: bool | None = None

    @property
    def shared(self) -> dict[str, Any]:
        """What the requests of every painting service call the same."""
        names = ("prompt", "negative_prompt", "steps", "strength", "seed", "preview_every", "profile", "region_steps")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class Rewritten:
    """A prompt to use, and who wrote it; None = nobody had to."""

    text: str
    model: ModelUse | None


class OnProgress(Protocol):
    """Told how a call goes on; exactly one argument is set."""

    def __call__(
        self,
        *,
        queued: progress_pb2.Queued | None = None,
        progress: steps_pb2.Progress | None = None,
        preview: progress_pb2.Preview | None = None,
        restarted: bool = False,
    ) -> None:
        """Take one report. `restarted`: the service was lost, and the work begins anew."""


class Backends:
    """One channel per model service, made by `open_channel`.

    `addresses` maps "segmentation", "fill", "qwen_edit" and, where there is one, "prompt" to host:port. A service that
    is lost during a call may take `rerun_wait_seconds` to come back.
    """

    def __init__(
        self,
        addresses: dict[str, str],
        open_channel: Callable[[str], grpc.aio.Channel] = channels.open_channel,
        *,
        rerun_wait_seconds: float,
    ) -> None:
        self._channels = {name: open_channel(address) for name, address in addresses.items()}
        self._calls = StageCalls(self._channels, addresses, rerun_wait_seconds=rerun_wait_seconds)
        self._segmentation = segmentation_pb2_grpc.SegmentationServiceStub(self._channels["segmentation"])
        self._fill = fill_pb2_grpc.FillServiceStub(self._channels["fill"])
        self._qwen_edit = qwen_edit_pb2_grpc.QwenEditServiceStub(self._channels["qwen_edit"])
        # Of the same address as qwen_edit, it shares that connection underneath.
        self._prompt = prompt_pb2_grpc.PromptServiceStub(self._channels["prompt"]) if "prompt" in addresses else None

    @property
    def channels(self) -> Mapping[str, grpc.aio.Channel]:
        """The channel of each model service, for what is asked of all of them."""
        return self._channels

    async def close(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    def without_reruns(self) -> Backends:
        """The same, for an edit that is itself run a second time: a stage that is lost ends it."""
        single = copy.copy(self)
        single._calls = self._calls.without_reruns()
        return single

    async def segment(self, rgb: Pixels, *, wants_foreground: bool, deadline: float) -> Segmented:
        """The subject's alpha of (H, W, 3) uint8, and its own colours where they are wanted."""
        outputs = [segmentation_pb2.SEGMENT_OUTPUT_MASK]
        if wants_foreground:
            outputs.append(segmentation_pb2.SEGMENT_OUTPUT_FOREGROUND)
        request = segmentation_pb2.SegmentRequest(image=image_messages.to_message(rgb), outputs=outputs)
        response = await self._calls.call(
            "segment",
            "segmentation",
            deadline,
            lambda options: self._segmentation.Segment(request, **options),
            fields=_SEGMENTATION_FIELDS,
        )
        metering.add_device_seconds(response.timings)
        foreground = image_messages.decode_image(response.foreground) if wants_foreground else None
        return Segmented(image_messages.decode_image(response.mask), foreground, _model(response.model))

    async def rewrite_prompt(
        self,
        prompt: str,
        mode: Literal["translate", "expand"],
        images: Sequence[Pixels],
        *,
        field: str,
        deadline: float,
    ) -> Rewritten:
        """The prompt in English, or written out with a look at up to 3 pictures (H, W, 3) uint8. field: whose it is."""
        stub = self._prompt
        if stub is None:
            raise ServiceUnavailable("no PromptService is configured")
        request = prompt_pb2.RewritePromptRequest(
            prompt=prompt, mode=_REWRITE_MODES[mode], images=[image_messages.to_message(image) for image in images]
        )
        response = await self._calls.call(
            "rewrite_prompt",
            "prompt",
            deadline,
            lambda options: stub.RewritePrompt(request, **options),
            fields=_IMAGE_FIELDS | {"prompt": field},
        )
        metering.add_device_seconds(response.timings)
        return Rewritten(response.prompt, _model(response.model) if response.HasField("model") else None)

    async def fill(
        self, rgb: Pixels, mask: Pixels, options: PaintOptions, *, deadline: float, on_progress: OnProgress
    ) -> Painted:
        """Repaint (H, W, 3) uint8 where (H, W) uint8 `mask` is above 0."""
        request = fill_pb2.FillRequest(
            image=image_messages.to_message(rgb),
            mask=image_messages.to_message(mask),
            guidance_scale=options.guidance_scale,
            negative_scale=options.negative_scale,
            **options.shared,
        )
        return await self._paint("fill", partial(self._fill.Fill, request), _FILL_FIELDS, deadline, on_progress)

    async def qwen_edit(
        self,
        images: list[Pixels],
        mask: Pixels | None,
        options: PaintOptions,
        *,
        deadline: float,
        on_progress: OnProgress,
    ) -> Painted:
        """Edit the first of 1 to 3 pictures (H, W, 3) uint8 by the prompt, where (H, W) uint8 `mask` is above 0."""
        request = qwen_edit_pb2.QwenEditRequest(
            images=[image_messages.to_message(image) for image in images],
            mask=None if mask is None else image_messages.to_message(mask),
            true_cfg_scale=options.guidance_scale,
            **options.shared,
        )
        call = partial(self._qwen_edit.Edit, request)
        return await self._paint("qwen_edit", call, _QWEN_EDIT_FIELDS, deadline, on_progress)

    async def _paint(
        self,
        service: str,
        call: Callable[..., Any],
        fields: Mapping[str, str],
        deadline: float,
        on_progress: OnProgress,
    ) -> Painted:
        """The result of a streamed call, whose stage has the service's name; run again once where it was lost."""
        return await self._calls.call(
            service,
            service,
            deadline,
            lambda metadata: _follow(call(**metadata), on_progress),
            fields=fields,
            on_rerun=lambda: on_progress(restarted=True),
        )


async def _follow(call: Any, on_progress: OnProgress) -> Painted:
    """Read a stub's stream to its end. Leaving early cancels the call, so the service stops at its next step."""
    painted: Painted | None = None
    try:
        with metering.measure_call() as meter:
            async for event in call:
                if event.HasField("result"):
                    meter.measured(event.result.timings)
                    result = event.result
                    rgb = image_messages.decode_image(result.image)
                    painted = Painted(rgb, _model(result.model), tuple(result.warnings), result.full_steps)
                elif event.HasField("queued"):
                    on_progress(queued=event.queued)
                elif event.HasField("progress"):
                    meter.stepped()
                    on_progress(progress=event.progress)
                elif event.HasField("preview"):
                    on_progress(preview=event.preview)
    finally:
        call.cancel()
    if painted is None:
        raise InternalError("the model service ended its stream without a result")
    return painted


def _model(message: progress_pb2.ModelInfo) -> ModelUse:
    return ModelUse(message.model_id, message.revision)
