"""LoraService: the LoRAs that requests to this service may name.

Knows proto types and the engine, not torch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from imgedit.inference.v1 import lora_pb2, lora_pb2_grpc
from imgedit.v1 import lora_pb2 as public_pb2
from services.common.call_context import Context
from services.diffusion.service import EngineSlot

RPC_SERVICE = lora_pb2.DESCRIPTOR.services_by_name["LoraService"].full_name


class LoraServicer(lora_pb2_grpc.LoraServiceServicer):
    """Serves ListLoras with the loaded model's folder.

    model_id: from the adapter, as results name the model.
    """

    def __init__(self, slot: EngineSlot, model_id: Callable[[Any], str]) -> None:
        self._slot = slot
        self._model_id = model_id

    async def ListLoras(self, _request: lora_pb2.ListLorasRequest, _context: Context) -> lora_pb2.ListLorasResponse:
        """The files that fit."""
        adapter: Any = self._slot.get().adapter
        names = await asyncio.to_thread(adapter.lora_names)
        model_id = self._model_id(adapter)
        return lora_pb2.ListLorasResponse(loras=[public_pb2.Lora(name=name, model_id=model_id) for name in names])


def add_lora_servicer(slot: EngineSlot, server: grpc.aio.Server, model_id: Callable[[Any], str]) -> None:
    """Serve ListLoras; model_id: from the adapter."""
    lora_pb2_grpc.add_LoraServiceServicer_to_server(LoraServicer(slot, model_id), server)
