"""A model service on the engine: load the adapter, start the engine, drain it.

Shared by fill and qwen_edit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from services.common.access import service_gate
from services.common.loading import ModelSlot, load_model
from services.common.server import Service
from services.common.settings import DiffusionSettings
from services.common.worker import Worker
from services.diffusion.engine.engine import Engine
from services.diffusion.warm_sizes import read_warm_sizes

EngineSlot = ModelSlot[Engine[Any, Any, Any]]


def make_diffusion_service(
    rpc_services: tuple[str, ...],
    settings: DiffusionSettings,
    load_adapter: Callable[[], Any],
    add_servicers: Callable[[EngineSlot, grpc.aio.Server], None],
) -> Service:
    """The service, not started; the engine is created when the model is loaded.

    `rpc_services`: full names of the served RPC services. `load_adapter` loads the model (an `Adapter` with `warm_up`);
    `add_servicers` adds the servicers, which find their engine in the slot.
    """
    slot: EngineSlot = ModelSlot()
    name = settings.service
    sizes = read_warm_sizes(settings)

    def load_engine() -> Engine[Any, Any, Any]:
        from services.diffusion.networks.device import advising  # late, because it imports torch

        with advising(_advice(settings)):
            adapter = load_adapter()
            adapter.warm_up()
            adapter.warm_sizes(sizes, jobs=settings.max_batch)
        return Engine(
            adapter,
            max_jobs=settings.max_waiting,
            max_bytes=settings.max_waiting_bytes,
            max_batch=settings.max_batch,
            max_kept_bytes=settings.region_bytes,
            max_part_bytes=settings.lora_bytes,
            name=name,
        )

    async def start() -> None:
        # On a daemon thread, so a process that must stop does not wait for a long load.
        loader = Worker(name, max_waiting=1)
        engine = await loader.run(
            lambda: load_model(
                name,
                load_engine,
                name=lambda engine: engine.adapter.name,
                revision=lambda engine: engine.adapter.revision,
            )
        )
        loader.close()
        engine.start()
        slot.fill(engine)

    async def stop() -> None:
        if slot.is_filled:
            await slot.get().aclose()

    async def ended_by_itself() -> None:
        await slot.get().ended_by_itself()

    def register(server: grpc.aio.Server) -> None:
        add_servicers(slot, server)

    gate = service_gate(settings)
    return Service(rpc_services, register, start, stop, ended_by_itself=ended_by_itself, gate=gate)


def _advice(settings: DiffusionSettings) -> str:
    """Settings that save memory, by name."""
    gguf, weights, offload = (settings.variable(name) for name in ("gguf", "weights", "offload"))
    batch, tiling = settings.variable("max_batch"), settings.variable("vae_tiling")
    return (
        f"set {offload}=model, then group, or {gguf} to a smaller file with {weights}=stored; {batch}=1 and "
        f"{tiling}=true save less; docs/models.md has what each costs"
    )
