"""SegmentationService: decode → queue → encode. Knows proto types and the queue, not torch."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from imgedit.errors import InvalidArgument
from imgedit.images import Pixels
from imgedit.v1 import progress_pb2, segmentation_pb2, segmentation_pb2_grpc
from services.common import deadline, pixels
from services.common.deadline import Context
from services.common.loading import ModelSlot
from services.common.worker import Worker
from services.segmentation.foreground import estimate_foreground

MODEL_ID = "BEN2"

_MASK = segmentation_pb2.SEGMENT_OUTPUT_MASK
_CUTOUT = segmentation_pb2.SEGMENT_OUTPUT_CUTOUT


class Segments(Protocol):
    """What the servicer needs of `services.segmentation.model.Segmenter`."""

    @property
    def revision(self) -> str:
        """Short hash of the weights."""

    def alpha(self, image: Pixels) -> NDArray[np.float32]:
        """(H, W, 3) uint8 → (H, W) float32 in [0, 1], 1 = subject. Runs on the worker thread."""


class SegmentationServicer(segmentation_pb2_grpc.SegmentationServiceServicer):
    """Serves Segment with a model that one worker thread owns."""

    def __init__(self, slot: ModelSlot[Segments], worker: Worker, *, max_pixels: int) -> None:
        self._slot = slot
        self._worker = worker
        self._max_pixels = max_pixels

    async def Segment(
        self, request: segmentation_pb2.SegmentRequest, context: Context
    ) -> segmentation_pb2.SegmentResponse:
        """Segment one picture."""
        model = self._slot.get()
        outputs = _outputs(request)
        image = await asyncio.to_thread(pixels.read_rgb, request.image, field="image", max_pixels=self._max_pixels)
        arrived = time.perf_counter()
        alpha, wait, network = await self._worker.run(
            lambda: _timed_alpha(model, image, arrived), deadline=deadline.of(context)
        )
        response = segmentation_pb2.SegmentResponse(
            model=progress_pb2.ModelInfo(model_id=MODEL_ID, revision=model.revision),
            timings=[
                progress_pb2.Timing(name="queue", seconds=wait),
                progress_pb2.Timing(name="network", seconds=network),
            ],
        )
        mask = np.rint(alpha * 255).astype(np.uint8)
        if _MASK in outputs:
            response.mask.CopyFrom(pixels.to_message(mask))
        if _CUTOUT in outputs:
            started = time.perf_counter()
            subject = image
            if request.refine_foreground:
                subject = await asyncio.to_thread(estimate_foreground, image, alpha)
            response.cutout.CopyFrom(await asyncio.to_thread(pixels.png_message, subject, mask))
            response.timings.add(name="cutout", seconds=time.perf_counter() - started)
        return response


def _timed_alpha(model: Segments, image: Pixels, arrived: float) -> tuple[NDArray[np.float32], float, float]:
    """(alpha, seconds it waited, seconds it took)."""
    started = time.perf_counter()
    alpha = model.alpha(image)
    return alpha, started - arrived, time.perf_counter() - started


def _outputs(request: segmentation_pb2.SegmentRequest) -> set[int]:
    outputs: set[int] = set(request.outputs) or {_MASK}
    if not outputs <= {_MASK, _CUTOUT}:
        raise InvalidArgument.field("outputs", "each must be SEGMENT_OUTPUT_MASK or SEGMENT_OUTPUT_CUTOUT")
    if request.refine_foreground and _CUTOUT not in outputs:
        raise InvalidArgument.field("refine_foreground", "has no effect without SEGMENT_OUTPUT_CUTOUT in outputs")
    return outputs
