"""The available model services, from health checks in the background.

Readers never wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit.local.services import MODEL_SERVICES
from imgedit.v1 import edit_pb2
from services.orchestrator.catalogue.experiments import Feature, RewritePromptStage, SegmentStage
from services.orchestrator.request import mask_parameters

PERIOD_SECONDS = 1.0
TIMEOUT_SECONDS = 1.0

_SERVICES = {row.name for row in MODEL_SERVICES}

REWRITE_SERVICE = "qwen_edit"
"""Where the PromptService is served."""


class Availability:
    """Checks every service's health once a second.

    A service without a response within a second is down.
    """

    def __init__(self, channels: Mapping[str, grpc.aio.Channel]) -> None:
        self._stubs = {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}
        self._serving = dict.fromkeys(channels, False)
        self._watches: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Check once, then continue in the background."""
        await asyncio.gather(*(self._ask(name) for name in self._stubs))
        self._watches = [asyncio.create_task(self._watch(name)) for name in self._stubs]

    async def stop(self) -> None:
        """Stop checking."""
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)

    def missing(self, features: Sequence[Feature]) -> list[str]:
        """The unavailable services among those that these features need, in stage order."""
        needed = dict.fromkeys(service for feature in features for service in needs(feature))
        return [service for service in needed if not self._serving[service]]

    def is_serving(self, service: str) -> bool:
        """Whether the service responded to the last check."""
        return self._serving[service]

    async def _watch(self, name: str) -> None:
        while True:
            await asyncio.sleep(PERIOD_SECONDS)
            await self._ask(name)

    async def _ask(self, name: str) -> None:
        try:
            response = await self._stubs[name].Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            self._serving[name] = False
        else:
            self._serving[name] = response.status == health_pb2.HealthCheckResponse.SERVING


def needs(feature: Feature) -> list[str]:
    """The services required by an edit with only defaults, in stage order.

    A stage that has the name of a service calls it. A segmentation that only the cut-out depends on is not among them,
    nor is a prompt's translation, which not every prompt needs.
    """
    uses_mask = feature.has(SegmentStage) and bool(mask_parameters.resolve_masks(edit_pb2.EditRequest(), feature).masks)
    found = ["segmentation"] if uses_mask or not feature.paint_stages else []
    found += [REWRITE_SERVICE] if feature.has(RewritePromptStage) else []
    return list(dict.fromkeys([*found, *(stage.kind for stage in feature.stages if stage.kind in _SERVICES)]))
