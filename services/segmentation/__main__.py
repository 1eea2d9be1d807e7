"""`python -m services.segmentation`: serve BEN2."""

from __future__ import annotations

import sys

import grpc

from imgedit.inference.v1 import segmentation_pb2, segmentation_pb2_grpc
from services.common.access import service_gate
from services.common.loading import ModelSlot, load_model
from services.common.server import Service, run
from services.common.worker import Worker
from services.segmentation import metrics
from services.segmentation.servicer import MODEL_ID, SegmentationServicer, Segments
from services.segmentation.settings import SegmentationSettings

NAME = "segmentation"


def make_service(settings: SegmentationSettings) -> Service:
    """The service, not started.

    The worker thread that will own the model loads it.
    """
    worker = Worker(NAME, max_waiting=settings.max_waiting)
    slot: ModelSlot[Segments] = ModelSlot()

    def load() -> Segments:
        # Imported late: the server listens, and answers health checks, while torch is imported.
        from services.diffusion.networks.device import advising
        from services.segmentation.model import Segmenter

        with advising(f"another program holds the device's memory, or set {settings.variable('device')}=cpu"):
            model = Segmenter.load(
                settings.models / settings.folder,
                device=settings.device,
                precision=settings.precision,
                on_retry=metrics.PRECISION_RETRIES.inc,
            )
            model.warm_up()
        return model

    async def start() -> None:
        slot.fill(
            await worker.run(
                lambda: load_model(NAME, load, name=lambda _: MODEL_ID, revision=lambda model: model.revision)
            )
        )

    async def stop() -> None:
        worker.close()

    def register(server: grpc.aio.Server) -> None:
        servicer = SegmentationServicer(slot, worker, max_pixels=settings.max_pixels, cache_bytes=settings.cache_bytes)
        segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(servicer, server)

    full_name = segmentation_pb2.DESCRIPTOR.services_by_name["SegmentationService"].full_name
    return Service(
        (full_name,), register, start, stop, ended_by_itself=worker.ended_by_itself, gate=service_gate(settings)
    )


if __name__ == "__main__":
    sys.exit(run(make_service, SegmentationSettings))
