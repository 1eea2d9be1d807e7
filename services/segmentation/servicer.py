"""SegmentationService: decode → cache or queue → encode.

Knows proto types and the queue, not torch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imgedit.errors import InvalidArgument
from imgedit.imaging.images import Pixels
from imgedit.inference.v1 import image_pb2, segmentation_pb2, segmentation_pb2_grpc
from imgedit.v1 import progress_pb2
from services.common import pixels, tracing
from services.common.cache import content_key
from services.common.call_context import Context, deadline_of
from services.common.loading import ModelSlot
from services.common.worker import Worker
from services.segmentation.cutout import on_ground, to_mask
from services.segmentation.foreground import estimate_foreground
from services.segmentation.mask_cache import Deadline, Found, MaskCache

MODEL_ID = "BEN2"
WHITE = 0xFFFFFF

_MASK = segmentation_pb2.SEGMENT_OUTPUT_MASK
_CUTOUT = segmentation_pb2.SEGMENT_OUTPUT_CUTOUT
_FOREGROUND = segmentation_pb2.SEGMENT_OUTPUT_FOREGROUND


class Segments(Protocol):
    """The interface of `services.segmentation.model.Segmenter`."""

    @property
    def revision(self) -> str:
        """Short hash of the weights."""

    @property
    def precision(self) -> str:
        """The network's number format."""

    def alpha(self, image: Pixels) -> NDArray[np.float32]:
        """(H, W, 3) uint8 → (H, W) float32 in [0, 1], 1 = subject.

        Runs on the worker thread.
        """


class SegmentationServicer(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Serves Segment with a model on one worker thread and a bounded mask cache."""

    def __init__(self, slot: ModelSlot[Segments], worker: Worker, *, max_pixels: int, cache_bytes: int) -> None:
        self._slot = slot
        self._worker = worker
        self._max_pixels = max_pixels
        self._masks = MaskCache(cache_bytes)

    async def Segment(
        self, request: segmentation_pb2.SegmentRequest, context: Context
    ) -> segmentation_pb2.SegmentResponse:
        """Segment one image."""
        model = self._slot.get()
        outputs = _outputs(request)
        image, content = await asyncio.to_thread(self._read, request.image)
        found = await self._masks.get(
            f"{content} {model.revision} {model.precision}",
            lambda latest: self._make(model, image, latest),
            deadline=deadline_of(context),
        )
        tracing.note(cache_hit=found.cache_hit)
        return await asyncio.to_thread(_answer, request, outputs, image, found, model.revision)

    def _read(self, message: image_pb2.Image) -> tuple[Pixels, str]:
        """The image, and a key of its pixels, which does not depend on the file format."""
        image = pixels.read_rgb(message, field="image", max_pixels=self._max_pixels)
        return image, content_key(image)

    async def _make(self, model: Segments, image: Pixels, latest: Deadline) -> Found:
        """Queue the image for the network.

        It is dropped if its turn comes after `latest`.
        """
        arrived = time.perf_counter()
        with tracing.span("network"):
            alpha, started, ended = await self._worker.run(lambda: _timed_alpha(model, image), deadline=latest)
            tracing.note(queue_seconds=round(started - arrived, 6))
        mask = await asyncio.to_thread(to_mask, alpha)
        return Found(mask, {"queue": started - arrived, "network": ended - started})


def _timed_alpha(model: Segments, image: Pixels) -> tuple[NDArray[np.float32], float, float]:
    """(alpha, start time, end time)."""
    started = time.perf_counter()
    alpha = model.alpha(image)
    return alpha, started, time.perf_counter()


def _outputs(request: segmentation_pb2.SegmentRequest) -> set[int]:
    """The images to return; rejects contradictory requests."""
    outputs: set[int] = set(request.outputs) or {_MASK}
    if not outputs <= {_MASK, _CUTOUT, _FOREGROUND}:
        raise InvalidArgument.field(
            "outputs", "each must be SEGMENT_OUTPUT_MASK, SEGMENT_OUTPUT_CUTOUT or SEGMENT_OUTPUT_FOREGROUND"
        )
    if request.cutout_ground_rgb > WHITE:
        raise InvalidArgument.field(
            "cutout_ground_rgb", f"must be 0 to {WHITE} (0xRRGGBB), is {request.cutout_ground_rgb}"
        )
    of_the_cutout = {
        "refine_foreground": request.refine_foreground,
        "cutout_ground_rgb": request.HasField("cutout_ground_rgb"),
    }
    for name, is_set in of_the_cutout.items():
        if is_set and _CUTOUT not in outputs:
            raise InvalidArgument.field(name, "has no effect without SEGMENT_OUTPUT_CUTOUT in outputs")
    return outputs


def _answer(
    request: segmentation_pb2.SegmentRequest, outputs: set[int], image: Pixels, found: Found, revision: str
) -> segmentation_pb2.SegmentResponse:
    """The requested images of a mask."""
    response = segmentation_pb2.SegmentResponse(
        model=progress_pb2.ModelInfo(model_id=MODEL_ID, revision=revision),
        timings=[progress_pb2.Timing(name=name, seconds=seconds) for name, seconds in found.seconds.items()],
        cache_hit=found.cache_hit,
    )
    estimated = image
    if _MASK in outputs:
        response.mask.CopyFrom(pixels.to_message(found.mask))
    if _FOREGROUND in outputs or request.refine_foreground:
        with _timed(response, "foreground"):
            estimated = estimate_foreground(image, found.mask.astype(np.float32) / np.float32(255))
    if _FOREGROUND in outputs:
        # Away from the subject the estimate is black and unused.
        foreground = np.where((found.mask == 0)[:, :, None], image, estimated)
        response.foreground.CopyFrom(pixels.to_message(foreground))
    if _CUTOUT in outputs:
        with _timed(response, "cutout"):
            subject = estimated if request.refine_foreground else image
            response.cutout.CopyFrom(_cut_out(request, subject, found.mask))
    return response


@contextmanager
def _timed(response: segmentation_pb2.SegmentResponse, name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    response.timings.add(name=name, seconds=time.perf_counter() - started)


def _cut_out(request: segmentation_pb2.SegmentRequest, subject: Pixels, mask: Pixels) -> image_pb2.Image:
    """A PNG of the subject, on transparency or on one colour."""
    if request.HasField("cutout_ground_rgb"):
        return pixels.png_message(on_ground(subject, mask, request.cutout_ground_rgb))
    return pixels.png_message(subject, mask)
