"""`python -m services.qwen_edit`: serve Qwen-Image-Edit-2509."""

from __future__ import annotations

import math
import sys
from typing import Any

import grpc

from imgedit.inference.v1 import prompt_pb2, prompt_pb2_grpc, qwen_edit_pb2, qwen_edit_pb2_grpc
from services.common.server import Service, run_service
from services.diffusion import lora_servicer
from services.diffusion.job_requests import FAST_LORA, Profiles
from services.diffusion.service import EngineSlot, make_diffusion_service
from services.qwen_edit.prompt_servicer import PromptServicer
from services.qwen_edit.servicer import QwenEditServicer
from services.qwen_edit.settings import QwenEditSettings

LIGHTNING_SCHEDULE = {
    "use_dynamic_shifting": True,
    "base_shift": math.log(3),
    "max_shift": math.log(3),
    "shift_terminal": None,
    "time_shift_type": "exponential",
}
"""Scheduler settings that Qwen-Image-Edit-2509-Lightning was distilled for."""


def make_service(settings: QwenEditSettings) -> Service:
    """The service, not started."""

    def load_adapter() -> Any:
        # Imported late: the server listens, and answers health checks, while torch is imported.
        from services.diffusion.networks.lora import LoraFile
        from services.diffusion.networks.runtime_options import runtime_of
        from services.qwen_edit import model

        return model.load_qwen_edit(
            settings.models / settings.folder,
            gguf=settings.models / settings.gguf if settings.gguf else None,
            gguf_sha256=settings.gguf_sha256 or None,
            weights=settings.weights,
            text_encoder_weights=settings.text_encoder_weights,
            text_encoder_attention=settings.text_encoder_attention,
            reference_pixels=settings.reference_pixels,
            device=settings.device,
            dtype=settings.dtype,
            cache_bytes=settings.cache_bytes,
            loras={FAST_LORA: LoraFile(settings.models / settings.lora_fast, schedule=LIGHTNING_SCHEDULE)}
            if settings.lora_fast
            else {},
            runtime=runtime_of(settings),
        )

    def add_servicers(slot: EngineSlot, server: grpc.aio.Server) -> None:
        servicer = QwenEditServicer(slot, max_pixels=settings.max_pixels, profiles=Profiles.from_settings(settings))
        qwen_edit_pb2_grpc.add_QwenEditServiceServicer_to_server(servicer, server)
        prompts = PromptServicer(
            slot,
            max_pixels=settings.max_pixels,
            max_tokens=settings.rewrite_tokens,
            max_seconds=settings.rewrite_seconds,
        )
        prompt_pb2_grpc.add_PromptServiceServicer_to_server(prompts, server)
        lora_servicer.add_lora_servicer(slot, server, lambda adapter: adapter.name)

    rpc_services = (
        qwen_edit_pb2.DESCRIPTOR.services_by_name["QwenEditService"].full_name,
        prompt_pb2.DESCRIPTOR.services_by_name["PromptService"].full_name,
        lora_servicer.RPC_SERVICE,
    )
    return make_diffusion_service(rpc_services, settings, load_adapter, add_servicers)


if __name__ == "__main__":
    sys.exit(run_service(make_service, QwenEditSettings))
