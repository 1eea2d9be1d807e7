"""Which services serve, watched over real gRPC.

One that does, one that does not, one that is gone, one that hangs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import SHIPPED
from services.orchestrator.listing.availability import Availability

FLUX, QWEN, _ = experiments.load_catalogue(SHIPPED).experiments
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Hanging(health_pb2_grpc.HealthServicer):
    async def Check(self, request: object, context: object) -> health_pb2.HealthCheckResponse:
        await asyncio.sleep(60)
        raise AssertionError


@asynccontextmanager
async def serving(servicer: health_pb2_grpc.HealthServicer) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            yield channel
        finally:
            await server.stop(0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.05)


async def test_what_serves_is_known_from_the_start_and_changes_are_noticed() -> None:
    segmentation, fill, qwen_edit = HealthServicer(), HealthServicer(), HealthServicer()
    for health in (segmentation, fill, qwen_edit):
        await health.set("", SERVING)
    async with serving(segmentation) as first, serving(fill) as second, serving(qwen_edit) as third:
        watch = Availability({"segmentation": first, "fill": second, "qwen_edit": third})
        assert watch.missing(FLUX.features) == ["segmentation", "fill"]  # nobody has been asked yet
        await watch.start()
        assert watch.missing([*FLUX.features, *QWEN.features]) == []
        await fill.set("", NOT_SERVING)
        await until(lambda: watch.missing(FLUX.features) == ["fill"])
        assert watch.missing(QWEN.features) == []
        await fill.set("", SERVING)
        await until(lambda: watch.missing(FLUX.features) == [])
        await watch.stop()


async def test_what_is_gone_or_hangs_is_missing_and_nobody_waits_for_it() -> None:
    healthy = HealthServicer()
    await healthy.set("", SERVING)
    async with (
        serving(healthy) as here,
        serving(Hanging()) as hanging,
        grpc.aio.insecure_channel("127.0.0.1:1") as gone,
    ):
        watch = Availability({"segmentation": here, "fill": hanging, "qwen_edit": gone})
        started = time.monotonic()
        await watch.start()
        assert time.monotonic() - started < 3
        started = time.monotonic()
        assert watch.missing(FLUX.features) == ["fill"]
        assert watch.missing(QWEN.features) == ["qwen_edit"]
        assert time.monotonic() - started < 0.05
        await watch.stop()
