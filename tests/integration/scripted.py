"""An orchestrator over real gRPC before model services with scripted behaviour."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import grpc
import numpy as np
from PIL import Image
from prometheus_client import REGISTRY
from pydantic import Field

from imgedit.channels import CHANNEL_OPTIONS
from imgedit.inference.v1 import (
    fill_pb2,
    fill_pb2_grpc,
    image_pb2,
    lora_pb2,
    lora_pb2_grpc,
    qwen_edit_pb2,
    qwen_edit_pb2_grpc,
    segmentation_pb2,
    segmentation_pb2_grpc,
    steps_pb2,
)
from imgedit.v1 import edit_pb2, edit_pb2_grpc, progress_pb2
from imgedit.v1 import lora_pb2 as public_pb2
from services.common import image_messages
from services.common.server import RunningServer, Service
from services.common.settings import ServiceSettings
from services.orchestrator.__main__ import make_service
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.webhooks.network import PublicNetwork


class ScriptedSettings(ServiceSettings):
    service = "scripted"
    port: int = Field(0)
    metrics_port: int = Field(0)


@dataclass
class Script:
    """The behaviour of a model service.

    The faults of its next calls (None = none), a gate for its calls, and further gates by seed. loras: the names that
    it offers.
    """

    faults: list[grpc.StatusCode | None] = field(default_factory=list)
    fault_step: int = 1
    steps: int = 3
    seconds_per_step: float = 0.0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    gates: dict[int, asyncio.Event] = field(default_factory=dict)
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    requests: list[Any] = field(default_factory=list)
    time_left: list[float] = field(default_factory=list)
    estimate: steps_pb2.JobEstimate = field(default_factory=steps_pb2.JobEstimate)
    estimated: list[Any] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    cancelled: int = 0
    steps_done: int = 0
    loras: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    @property
    def calls(self) -> int:
        return len(self.requests)

    async def play(self, request: Any, context: Any) -> AsyncIterator[int]:
        """The steps of one call."""
        self.requests.append(request)
        self.time_left.append(context.time_remaining())
        fault = self.faults.pop(0) if self.faults else None
        self.running += 1
        self.most_running = max(self.running, self.most_running)
        self.begun.set()
        try:
            for step in range(1, self.steps + 1):
                if fault is not None and step == self.fault_step:
                    await context.abort(fault, "scripted")
                await self.gate.wait()
                if (own := self.gates.get(getattr(request, "seed", -1))) is not None:
                    await own.wait()
                await asyncio.sleep(self.seconds_per_step)
                self.steps_done += 1
                yield step
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1


class Segmentation(segmentation_pb2_grpc.SegmentationServiceServicer):
    """The left half is the subject."""

    def __init__(self, script: Script) -> None:
        self.script = script

    async def Segment(self, request: segmentation_pb2.SegmentRequest, context: Any) -> segmentation_pb2.SegmentResponse:
        async for _ in self.script.play(request, context):
            pass
        rgb = image_messages.read_rgb(request.image, field="image", max_pixels=2**30)
        alpha = np.zeros(rgb.shape[:2], np.uint8)
        alpha[:, : rgb.shape[1] // 2] = 255
        answer = segmentation_pb2.SegmentResponse(mask=image_messages.to_message(alpha))
        if "foreground" in segmentation_pb2.SegmentResponse.DESCRIPTOR.fields_by_name:
            answer.foreground.CopyFrom(image_messages.to_message(rgb))
        return answer


def painted(image: image_pb2.Image, seed: int) -> image_pb2.Image:
    """One colour, which the seed decides."""
    rgb = image_messages.read_rgb(image, field="image", max_pixels=2**30)
    return image_messages.to_message(np.full_like(rgb, seed % 251))


def look() -> bytes:
    """A preview: a small JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 24)).save(buffer, "JPEG")
    return buffer.getvalue()


class Fill(fill_pb2_grpc.FillServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def Fill(self, request: fill_pb2.FillRequest, context: Any) -> AsyncIterator[fill_pb2.FillEvent]:
        yield fill_pb2.FillEvent(queued=progress_pb2.Queued(position=0))
        async for step in self.script.play(request, context):
            yield fill_pb2.FillEvent(progress=steps_pb2.Progress(step=step, steps=self.script.steps))
            if request.preview_every and step % request.preview_every == 0:
                yield fill_pb2.FillEvent(preview=progress_pb2.Preview(image=look()))
        image = painted(request.image, request.seed)
        yield fill_pb2.FillEvent(result=fill_pb2.FillResult(image=image, seed=request.seed))

    async def EstimateFill(self, request: fill_pb2.FillRequest, context: Any) -> steps_pb2.JobEstimate:
        self.script.estimated.append(request)
        return self.script.estimate


class QwenEdit(qwen_edit_pb2_grpc.QwenEditServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def Edit(
        self, request: qwen_edit_pb2.QwenEditRequest, context: Any
    ) -> AsyncIterator[qwen_edit_pb2.QwenEditEvent]:
        async for step in self.script.play(request, context):
            yield qwen_edit_pb2.QwenEditEvent(progress=steps_pb2.Progress(step=step, steps=self.script.steps))
            if request.preview_every and step % request.preview_every == 0:
                yield qwen_edit_pb2.QwenEditEvent(preview=progress_pb2.Preview(image=look()))
        image = painted(request.images[0], request.seed)
        yield qwen_edit_pb2.QwenEditEvent(result=qwen_edit_pb2.QwenEditResult(image=image, seed=request.seed))

    async def EstimateEdit(self, request: qwen_edit_pb2.QwenEditRequest, context: Any) -> steps_pb2.JobEstimate:
        self.script.estimated.append(request)
        return self.script.estimate


class Loras(lora_pb2_grpc.LoraServiceServicer):
    def __init__(self, script: Script, model_id: str) -> None:
        self.script, self.model_id = script, model_id

    async def ListLoras(self, request: lora_pb2.ListLorasRequest, context: Any) -> lora_pb2.ListLorasResponse:
        offered = [public_pb2.Lora(name=name, model_id=self.model_id) for name in self.script.loras]
        return lora_pb2.ListLorasResponse(loras=offered)


@dataclass
class World:
    """The running orchestrator, its public API, and the scripts of its model services."""

    orchestrator: RunningServer
    stub: edit_pb2_grpc.EditServiceStub
    scripts: dict[str, Script]
    servers: dict[str, RunningServer]

    @property
    def fill(self) -> Script:
        return self.scripts["fill"]

    @property
    def segmentation(self) -> Script:
        return self.scripts["segmentation"]


@asynccontextmanager
async def world(
    *,
    loras: Mapping[str, list[str]] = MappingProxyType({}),
    webhook_network: PublicNetwork | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    """Three scripted services and an orchestrator with these settings.

    loras: the names that the services offer. webhook_network: opens the connections of webhooks.
    """
    scripts = {name: Script(loras=loras.get(name, [])) for name in ("segmentation", "fill", "qwen_edit")}
    async with AsyncExitStack() as stack:
        servers = {name: await stack.enter_async_context(_model_service(name, scripts[name])) for name in scripts}
        addresses = {name: f"127.0.0.1:{server.port}" for name, server in servers.items()}
        options = {"port": 0, "metrics_port": 0, "drain_seconds": 0, "grace_seconds": 5, **addresses, **settings}
        chosen = OrchestratorSettings(**options)
        orchestrator = await stack.enter_async_context(_running(make_service(chosen, webhook_network), chosen))
        channel = await stack.enter_async_context(
            grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}", options=CHANNEL_OPTIONS)
        )
        yield World(orchestrator, edit_pb2_grpc.EditServiceStub(channel), scripts, servers)


@asynccontextmanager
async def _model_service(name: str, script: Script) -> AsyncIterator[RunningServer]:
    def register(server: grpc.aio.Server) -> None:
        match name:
            case "segmentation":
                segmentation_pb2_grpc.add_SegmentationServiceServicer_to_server(Segmentation(script), server)
            case "fill":
                fill_pb2_grpc.add_FillServiceServicer_to_server(Fill(script), server)
                lora_pb2_grpc.add_LoraServiceServicer_to_server(Loras(script, "FLUX.1-Fill"), server)
            case "qwen_edit":
                qwen_edit_pb2_grpc.add_QwenEditServiceServicer_to_server(QwenEdit(script), server)
                lora_pb2_grpc.add_LoraServiceServicer_to_server(Loras(script, "Qwen-Image-Edit-2509"), server)

    settings = ScriptedSettings(drain_seconds=0, grace_seconds=0)
    async with _running(Service((), register), settings) as server:
        yield server


@asynccontextmanager
async def _running(service: Service, settings: ServiceSettings) -> AsyncIterator[RunningServer]:
    server = RunningServer(service, settings)
    await server.start()
    try:
        yield server
    finally:
        await server.drain()


def request(**fields: Any) -> edit_pb2.EditRequest:
    """An edit of a small picture."""
    return edit_pb2.EditRequest(
        **{"experiment_id": "ben2_flux_fill", "prompt": "a gym", "seed": 7, "input_image": picture(), **fields}
    )


def picture(width: int = 64, height: int = 48) -> bytes:
    """A PNG of noise."""
    noise = np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


async def all_of(stream: Any) -> list[edit_pb2.EditEvent]:
    return [event async for event in stream]


def kind(event: edit_pb2.EditEvent) -> str:
    return str(event.WhichOneof("event"))


def joined() -> float:
    """How many requests have joined a running edit, in all."""
    return REGISTRY.get_sample_value("imgedit_edits_shared_total", {"source": "running"}) or 0


async def eventually(condition: Any, seconds: float = 60) -> None:
    """Poll until the condition is true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what the test waits for is not an event
            await asyncio.sleep(0.01)
