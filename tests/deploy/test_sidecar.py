"""A real sidecar before two real servers: calls that never began go to the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from imgedit.local import gateway
from imgedit.local.gateway import Address
from imgedit.local.ports import Ports
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.access import OpenGate
from services.common.interceptors import UNBEGUN, RequestInterceptor

CALLS = 40


class Counting(edit_pb2_grpc.EditServiceServicer):
    """Answers at once, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    async def Edit(self, request: edit_pb2.EditRequest, context: object) -> edit_pb2.EditResponse:
        self.calls += 1
        return edit_pb2.EditResponse(success=True)


class Replica:
    """A server whose health stays SERVING, like one that has just begun to stop."""

    def __init__(self) -> None:
        self.interceptor = RequestInterceptor("fill", max_request_bytes=2**20, gate=OpenGate())
        self.servicer = Counting()
        self.server = grpc.aio.server(interceptors=[self.interceptor])
        edit_pb2_grpc.add_EditServiceServicer_to_server(self.servicer, self.server)
        self._health = HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    async def start(self) -> None:
        await self.server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)


@asynccontextmanager
async def sidecar(replicas: list[Replica], folder: Path) -> AsyncIterator[str]:
    """Envoy with the shipped configuration; yields where it takes the calls of fill."""
    first = Ports.free().base
    own = range(first, first + 5)
    services = ("segmentation", "fill", "qwen_edit")
    config = gateway.sidecar(
        listeners={service: Address(port) for service, port in zip(services, own, strict=False)},
        replicas={service: [Address(replica.port) for replica in replicas] for service in services},
        metrics=Address(own[3]),
        admin=Address(own[4]),
    )
    command = gateway.command(config, folder / "sidecar.json")
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        yield f"127.0.0.1:{own[1]}"
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def test_a_call_that_a_stopping_replica_never_began_goes_to_the_other(tmp_path: Path) -> None:
    replicas = [Replica(), Replica()]
    for replica in replicas:
        await replica.start()
    stopping, other = replicas
    await stopping.interceptor.close()
    async with sidecar(replicas, tmp_path) as address, grpc.aio.insecure_channel(address) as channel:
        stub = edit_pb2_grpc.EditServiceStub(channel)
        await stub.Edit(edit_pb2.EditRequest(), wait_for_ready=True, timeout=20)
        answers = await asyncio.gather(*(stub.Edit(edit_pb2.EditRequest(), timeout=20) for _ in range(CALLS)))
    assert all(answer.success for answer in answers)
    assert stopping.servicer.calls == 0
    assert other.servicer.calls == CALLS + 1
    for replica in replicas:
        await replica.server.stop(None)


async def test_a_stopping_server_says_that_it_never_began_the_call() -> None:
    replica = Replica()
    await replica.start()
    await replica.interceptor.close()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{replica.port}") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await edit_pb2_grpc.EditServiceStub(channel).Edit(edit_pb2.EditRequest(), timeout=20)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert UNBEGUN in list(raised.value.trailing_metadata())
    await replica.server.stop(None)
