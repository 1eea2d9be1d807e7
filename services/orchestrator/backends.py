"""Typed calls of the model services over their stubs.

Passes on the time left and the request id, keeps the remote error and names the stage it arose in. Knows proto types
and addresses; knows nothing of experiments or chains.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from imgedit import channels
from imgedit.client import error_of
from imgedit.errors import DeadlineExceeded, EditCancelled, ServiceUnavailable
from imgedit.images import Pixels
from imgedit.v1 import (
    fill_pb2,
    fill_pb2_grpc,
    profile_pb2,
    progress_pb2,
    qwen_edit_pb2,
    qwen_edit_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
)
from services.common import logs, pixels
from services.common.interceptors import REQUEST_ID_KEY
from services.orchestrator import usage

MARGIN_SECONDS = 0.1
"""Kept back of the time left, so that a stage's refusal still reaches the caller."""


@dataclass(frozen=True)
class ModelUse:
    """A model that worked on an edit."""

    model_id: str
    revision: str


@dataclass(frozen=True)
class Segmented:
    """(H, W) uint8 alpha, 255 = subject, at the size that was sent."""

    alpha: Pixels
    model: ModelUse


@dataclass(frozen=True)
class Painted:
    """(H, W, 3) uint8 at the size that was sent."""

    rgb: Pixels
    model: ModelUse


class OnProgress(Protocol):
    """Told how a call goes on; exactly one argument is set."""

    def __call__(
        self,
        *,
        queued: progress_pb2.Queued | None = None,
        progress: progress_pb2.Progress | None = None,
        preview: progress_pb2.Preview | None = None,
    ) -> None:
        """Take one report."""


class Backends:
    """One channel per model service, made by `open_channel`.

    `addresses` maps "segmentation", "fill" and "qwen_edit" to host:port.
    """

    def __init__(
        self, addresses: dict[str, str], open_channel: Callable[[str], grpc.aio.Channel] = channels.open_channel
    ) -> None:
        self._addresses = addresses
        self._channels = {name: open_channel(address) for name, address in addresses.items()}
        self._segmentation = segmentation_pb2_grpc.SegmentationServiceStub(self._channels["segmentation"])
        self._fill = fill_pb2_grpc.FillServiceStub(self._channels["fill"])
        self._qwen_edit = qwen_edit_pb2_grpc.QwenEditServiceStub(self._channels["qwen_edit"])

    async def close(self) -> None:
        """Close the channels."""
        await asyncio.gather(*(channel.close() for channel in self._channels.values()))

    async def segment(self, rgb: Pixels, *, deadline: float) -> Segmented:
        """The subject's alpha of (H, W, 3) uint8."""
        request = segmentation_pb2.SegmentRequest(image=pixels.to_message(rgb))
        with self._stage("segment", "segmentation"):
            response = await self._segmentation.Segment(request, **_call_options("segment", deadline))
        usage.spent(response.timings)
        return Segmented(pixels.decode_answer(response.mask), _model(response.model))

    async def fill(
        self,
        rgb: Pixels,
        mask: Pixels,
        *,
        prompt: str,
        negative_prompt: str | None,
        negative_scale: float | None,
        steps: int,
        guidance_scale: float,
        strength: float,
        seed: int,
        preview_every: int,
        profile: profile_pb2.Profile,
        deadline: float,
        on_progress: OnProgress,
    ) -> Painted:
        """Repaint (H, W, 3) uint8 where (H, W) uint8 `mask` is above 0."""
        request = fill_pb2.FillRequest(
            image=pixels.to_message(rgb),
            mask=pixels.to_message(mask),
            prompt=prompt,
            negative_prompt=negative_prompt,
            negative_scale=negative_scale,
            steps=steps,
            guidance_scale=guidance_scale,
            strength=strength,
            seed=seed,
            preview_every=preview_every,
            profile=profile,
        )
        with self._stage("fill", "fill"):
            return await _follow(lambda: self._fill.Fill(request, **_call_options("fill", deadline)), on_progress)

    async def qwen_edit(
        self,
        images: list[Pixels],
        *,
        prompt: str,
        negative_prompt: str | None,
        true_cfg_scale: float,
        steps: int,
        strength: float,
        seed: int,
        preview_every: int,
        profile: profile_pb2.Profile,
        deadline: float,
        on_progress: OnProgress,
    ) -> Painted:
        """Edit the first of 1 to 3 pictures (H, W, 3) uint8 by the prompt."""
        request = qwen_edit_pb2.QwenEditRequest(
            images=[pixels.to_message(image) for image in images],
            prompt=prompt,
            negative_prompt=negative_prompt,
            true_cfg_scale=true_cfg_scale,
            steps=steps,
            strength=strength,
            seed=seed,
            preview_every=preview_every,
            profile=profile,
        )
        with self._stage("qwen_edit", "qwen_edit"):
            return await _follow(
                lambda: self._qwen_edit.Edit(request, **_call_options("qwen_edit", deadline)), on_progress
            )

    @contextmanager
    def _stage(self, stage: str, service: str) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as raised:
            address = self._addresses[service]
            error = error_of(raised, address)
            if isinstance(error, EditCancelled | ServiceUnavailable):
                # CANCELLED that we did not ask for: the service ended during the call.
                error = ServiceUnavailable(
                    f"stage {stage}: the {service} service at {address} cannot be reached or was lost "
                    f"({raised.details()}); start it, or retry when its health is SERVING",
                    korean=f"'{stage}' 단계의 {service} 서비스에 연결할 수 없습니다. 잠시 후 다시 시도하세요.",
                )
            error.metadata["stage"] = stage
            raise error from None


async def _follow(start: Callable[[], Any], on_progress: OnProgress) -> Painted:
    """Read a stream to its end. Leaving early cancels the call, so the service stops at its next step."""
    call: AsyncIterator[fill_pb2.FillEvent | qwen_edit_pb2.QwenEditEvent] = start()
    painted: Painted | None = None
    try:
        async for event in call:
            if event.HasField("result"):
                usage.spent(event.result.timings)
                painted = Painted(pixels.decode_answer(event.result.image), _model(event.result.model))
            elif event.HasField("queued"):
                on_progress(queued=event.queued)
            elif event.HasField("progress"):
                on_progress(progress=event.progress)
            elif event.HasField("preview"):
                on_progress(preview=event.preview)
    finally:
        call.cancel()  # type: ignore[attr-defined]  # the stub's call object
    if painted is None:
        raise ServiceUnavailable("the model service ended its stream without a result; retry")
    return painted


def _call_options(stage: str, deadline: float) -> dict[str, Any]:
    left = deadline - time.monotonic() - MARGIN_SECONDS
    if left <= 0:
        raise DeadlineExceeded(f"the deadline passed before stage {stage}", metadata={"stage": stage})
    return {"timeout": left, "metadata": ((REQUEST_ID_KEY, logs.request_id.get()),)}


def _model(message: progress_pb2.ModelInfo) -> ModelUse:
    return ModelUse(message.model_id, message.revision)
