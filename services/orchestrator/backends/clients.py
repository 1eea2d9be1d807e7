"""Typed calls of the model services over their stubs.

Converts arrays to messages and back. `stage_calls.py` makes and repeats the calls.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
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
from imgedit.remarks import Remarks, read_remarks
from imgedit.v1 import lora_pb2, profile_pb2, progress_pb2
from services.common import image_messages
from services.common.checks import Scales
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
"""The services' request fields → the caller's names for them."""


@dataclass(frozen=True)
class ModelUse:
    """A model that worked on an edit."""

    model_id: str
    revision: str


@dataclass(frozen=True)
class Segmented:
    """(H, W) uint8 alpha, 255 = subject, at the size of the request.

    foreground: (H, W, 3) uint8, the subject's own colours where the alpha is soft; None if not requested.
    """

    alpha: Pixels
    foreground: Pixels | None
    model: ModelUse


@dataclass(frozen=True)
class Painted:
    """(H, W, 3) uint8 at the size that was sent.

    warnings: what the service says beside it. full_steps: steps that computed the whole picture.
    """

    rgb: Pixels
    model: ModelUse
    warnings: Remarks = ()
    full_steps: int = 0


@dataclass(frozen=True)
class JobEstimate:
    """The expected course of a job that would be queued now.

    position: jobs ahead of it. queue_seconds: until its work begins; work_seconds: of its work. None = not known yet.
    """

    position: int
    queue_seconds: float | None
    work_seconds: float | None

    def times(self, jobs: int) -> JobEstimate:
        """So many of these jobs, one after another."""
        return replace(self, work_seconds=None if self.work_seconds is None else jobs * self.work_seconds)


@dataclass(frozen=True)
class PaintOptions:
    """Prompts and numbers for a painting model.

    guidance_scale: distilled guidance of FLUX.1-Fill, true classifier-free guidance of Qwen-Image-Edit. negative_scale:
    true classifier-free guidance of FLUX.1-Fill; None = the service's default. preview_every: steps, 0 = no previews.
    region_steps: whether most steps compute only what the mask asks for, None = as the service is set to. loras: names
    and strengths of those that fit the service's model.
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
    loras: Scales = ()

    @property
    def shared(self) -> dict[str, Any]:
        """The values that every painting service's request has under the same names."""
        names = ("prompt", "negative_prompt", "steps", "strength", "seed", "preview_every", "profile", "region_steps")
        loras = [lora_pb2.LoraUse(name=name, scale=scale) for name, scale in self.loras]
        return {name: getattr(self, name) for name in names} | {"loras": loras}


@dataclass(frozen=True)
class Rewritten:
    """A prompt and the model that rewrote it; None = unchanged."""

    text: str
    model: ModelUse | None


class OnProgress(Protocol):
    """Receives the progress of a call; each report sets exactly one argument."""

    def __call__(
        self,
        *,
        queued: progress_pb2.Queued | None = None,
        progress: steps_pb2.Progress | None = None,
        preview: progress_pb2.Preview | None = None,
        restarted: bool = False,
    ) -> None:
        """Handle one report.

        `restarted`: the service was lost, and the work restarts.
        """


class Backends:
    """One channel per model service, made by `open_channel`.

    `addresses` maps "segmentation", "fill", "qwen_edit" and optionally "prompt" to host:port. A service that is lost
    during a call has `rerun_wait_seconds` to come back.
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
        # With the same address as qwen_edit, it shares the connection.
        self._prompt = prompt_pb2_grpc.PromptServiceStub(self._channels["prompt"]) if "prompt" in addresses else None

    @property
    def channels(self) -> Mapping[str, grpc.aio.Channel]:
        """The channel of each model service, for health checks."""
        return self._channels

    async def close(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    def without_reruns(self) -> Backends:
        """The same clients without reruns, for an edit that is itself a second attempt."""
        single = copy.copy(self)
        single._calls = self._calls.without_reruns()
        return single

    async def segment(self, rgb: Pixels, *, wants_foreground: bool, deadline: float) -> Segmented:
        """The alpha of the subject in (H, W, 3) uint8, optionally with foreground colours."""
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
        """Translate or expand a prompt, with up to 3 images (H, W, 3) uint8.

        field: the request field of the prompt, for errors.
        """
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
        request = _fill_request(rgb, mask, options)
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
        """Edit the first of 1 to 3 images (H, W, 3) uint8, where `mask` is above 0.

        mask: (H, W) uint8.
        """
        call = partial(self._qwen_edit.Edit, _qwen_edit_request(images, mask, options))
        return await self._paint("qwen_edit", call, _QWEN_EDIT_FIELDS, deadline, on_progress)

    async def estimate_fill(self, rgb: Pixels, mask: Pixels, options: PaintOptions, *, deadline: float) -> JobEstimate:
        """The expected course of `fill`."""
        call = partial(self._fill.EstimateFill, _fill_request(rgb, mask, options))
        return await self._estimate("fill", call, _FILL_FIELDS, deadline)

    async def estimate_qwen_edit(
        self, images: list[Pixels], mask: Pixels | None, options: PaintOptions, *, deadline: float
    ) -> JobEstimate:
        """The expected course of `qwen_edit`."""
        call = partial(self._qwen_edit.EstimateEdit, _qwen_edit_request(images, mask, options))
        return await self._estimate("qwen_edit", call, _QWEN_EDIT_FIELDS, deadline)

    async def _estimate(
        self, service: str, call: Callable[..., Any], fields: Mapping[str, str], deadline: float
    ) -> JobEstimate:
        found = await self._calls.call(service, service, deadline, lambda metadata: call(**metadata), fields=fields)
        return JobEstimate(
            found.position,
            found.queue_seconds if found.HasField("queue_seconds") else None,
            found.work_seconds if found.HasField("work_seconds") else None,
        )

    async def _paint(
        self,
        service: str,
        call: Callable[..., Any],
        fields: Mapping[str, str],
        deadline: float,
        on_progress: OnProgress,
    ) -> Painted:
        """The result of a streamed call, rerun once if the service was lost.

        The stage has the service's name.
        """
        return await self._calls.call(
            service,
            service,
            deadline,
            lambda metadata: _follow(call(**metadata), on_progress),
            fields=fields,
            on_rerun=lambda: on_progress(restarted=True),
        )


def _fill_request(rgb: Pixels, mask: Pixels, options: PaintOptions) -> fill_pb2.FillRequest:
    return fill_pb2.FillRequest(
        image=image_messages.to_message(rgb),
        mask=image_messages.to_message(mask),
        guidance_scale=options.guidance_scale,
        negative_scale=options.negative_scale,
        **options.shared,
    )


def _qwen_edit_request(
    images: list[Pixels], mask: Pixels | None, options: PaintOptions
) -> qwen_edit_pb2.QwenEditRequest:
    return qwen_edit_pb2.QwenEditRequest(
        images=[image_messages.to_message(image) for image in images],
        mask=None if mask is None else image_messages.to_message(mask),
        true_cfg_scale=options.guidance_scale,
        **options.shared,
    )


async def _follow(call: Any, on_progress: OnProgress) -> Painted:
    """Read a stub's stream to its end.

    Leaving early cancels the call, so the service stops at its next step.
    """
    painted: Painted | None = None
    try:
        with metering.measure_call() as meter:
            async for event in call:
                if event.HasField("result"):
                    meter.measured(event.result.timings)
                    result = event.result
                    rgb = image_messages.decode_image(result.image)
                    painted = Painted(rgb, _model(result.model), read_remarks(result), result.full_steps)
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
