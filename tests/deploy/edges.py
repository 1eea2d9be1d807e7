"""A real Envoy with the shipped edge before an EditService that records calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from imgedit.errors import RequestNotFound
from imgedit.local import gateway
from imgedit.local.gateway import Address
from imgedit.local.ports import Ports
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.access import Gate, OpenGate
from services.common.interceptors import RequestInterceptor

START_SECONDS = 60


class Orchestrator(edit_pb2_grpc.EditServiceServicer):
    """Answers at once; `requests` and `metadata` are what it was sent."""

    def __init__(self, gate: Gate | None = None) -> None:
        self.requests: list[edit_pb2.EditRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self.release = asyncio.Event()  # until then EditStream stays open
        interceptor = RequestInterceptor("orchestrator", max_request_bytes=32 * 2**20, gate=gate or OpenGate())
        options = [("grpc.max_receive_message_length", 48 * 2**20)]
        self.server = grpc.aio.server(interceptors=[interceptor], options=options)
        edit_pb2_grpc.add_EditServiceServicer_to_server(self, self.server)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def start(self) -> None:
        await self.server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)

    async def Edit(self, request: edit_pb2.EditRequest, context: grpc.aio.ServicerContext) -> edit_pb2.EditResponse:
        self._note(request, context)
        return edit_pb2.EditResponse(success=True, output_image=request.input_image)

    async def EditStream(
        self, request: edit_pb2.EditRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[edit_pb2.EditEvent]:
        self._note(request, context)
        yield edit_pb2.EditEvent(request_id="begun")
        await self.release.wait()
        yield edit_pb2.EditEvent(result=edit_pb2.EditResponse(success=True))

    async def EditBatch(
        self, request_iterator: AsyncIterator[edit_pb2.EditRequest], context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[edit_pb2.EditEvent]:
        async for request in request_iterator:
            self._note(request, context)
            yield edit_pb2.EditEvent(result=edit_pb2.EditResponse(success=True))

    async def CancelEdit(
        self, request: edit_pb2.CancelEditRequest, context: grpc.aio.ServicerContext
    ) -> edit_pb2.CancelEditResponse:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        return edit_pb2.CancelEditResponse(request_id=request.request_id)

    async def GetEdit(
        self, request: edit_pb2.GetEditRequest, context: grpc.aio.ServicerContext
    ) -> edit_pb2.GetEditResponse:
        if request.request_id not in {held.request_id for held in self.requests}:
            raise RequestNotFound("not here")
        return edit_pb2.GetEditResponse(request_id=request.request_id, state=edit_pb2.EDIT_STATE_SUCCEEDED)

    async def EstimateEdit(
        self, request: edit_pb2.EditRequest, context: grpc.aio.ServicerContext
    ) -> edit_pb2.EstimateEditResponse:
        self._note(request, context)
        return edit_pb2.EstimateEditResponse(seconds=12.5, queue_position=2)

    async def ListExperiments(
        self, request: edit_pb2.ListExperimentsRequest, context: grpc.aio.ServicerContext
    ) -> edit_pb2.ListExperimentsResponse:
        self.metadata.append(dict(context.invocation_metadata() or ()))
        return edit_pb2.ListExperimentsResponse()

    def _note(self, request: edit_pb2.EditRequest, context: grpc.aio.ServicerContext) -> None:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))


@asynccontextmanager
async def edge(orchestrator: Orchestrator, folder: Path, *others: Orchestrator) -> AsyncIterator[Address]:
    """Start the edge before the orchestrators; yields its address."""
    orchestrators = (orchestrator, *others)
    for one in orchestrators:
        await one.start()
    try:
        async with edge_before([Address(one.port) for one in orchestrators], folder) as public:
            yield public
    finally:
        for one in orchestrators:
            await one.server.stop(None)


@asynccontextmanager
async def edge_before(
    orchestrators: Sequence[Address], folder: Path, *, openai: Sequence[Address] = ()
) -> AsyncIterator[Address]:
    """The edge in front of what listens at these addresses."""
    base = Ports.free().base
    public = Address(base)
    config = gateway.edge_config(
        public=public,
        metrics=Address(base + 1),
        admin=Address(base + 2),
        orchestrators=orchestrators,
        openai=openai,
    )
    command = gateway.envoy_command(config, folder / "edge.json")
    with (folder / "edge.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
    try:
        await _serving(public)
        yield public
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), START_SECONDS)


async def _serving(public: Address) -> None:
    """Wait until the edge has found the orchestrator."""
    async with asyncio.timeout(START_SECONDS), httpx2.AsyncClient() as client:
        while True:
            try:
                answer = await client.get(f"http://{public}/api/image_editing/experiments")
            except httpx2.TransportError:
                answer = None
            if answer is not None and answer.status_code in (200, 401):
                return
            await asyncio.sleep(0.1)
