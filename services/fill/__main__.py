"""`python -m services.fill`: serve FLUX.1-Fill."""

from __future__ import annotations

import sys
from typing import Any

import grpc

from imgedit.inference.v1 import fill_pb2, fill_pb2_grpc
from services.common.server import Service, run_service
from services.diffusion import lora_servicer
from services.diffusion.job_requests import FAST_LORA, Profiles
from services.diffusion.service import EngineSlot, make_diffusion_service
from services.fill.servicer import MODEL_ID, FillServicer
from services.fill.settings import FillSettings


def make_service(settings: FillSettings) -> Service:
    """The service, not started."""

    def load_adapter() -> Any:
        # Imported late: the server listens, and answers health checks, while torch is imported.
        from services.diffusion.networks.lora import LoraFile
        from services.diffusion.networks.runtime_options import runtime_of
        from services.fill import model

        return model.load_fill(
            settings.models / settings.folder,
            gguf=settings.models / settings.gguf if settings.gguf else None,
            gguf_sha256=settings.gguf_sha256 or None,
            weights=settings.weights,
            text_encoder_weights=settings.text_encoder_weights,
            device=settings.device,
            dtype=settings.dtype,
            cache_bytes=settings.cache_bytes,
            loras={FAST_LORA: LoraFile(settings.models / settings.lora_fast)} if settings.lora_fast else {},
            runtime=runtime_of(settings),
        )

    def add_servicer(slot: EngineSlot, server: grpc.aio.Server) -> None:
        servicer = FillServicer(slot, max_pixels=settings.max_pixels, profiles=Profiles.from_settings(settings))
        fill_pb2_grpc.add_FillServiceServicer_to_server(servicer, server)
        lora_servicer.add_lora_servicer(slot, server, lambda _: MODEL_ID)

    rpc_services = (fill_pb2.DESCRIPTOR.services_by_name["FillService"].full_name, lora_servicer.RPC_SERVICE)
    return make_diffusion_service(rpc_services, settings, load_adapter, add_servicer)


if __name__ == "__main__":
    sys.exit(run_service(make_service, FillSettings))
