"""The LoRAs that the diffusion services offer, asked in the background.

Readers never wait. Only an unknown name asks the services again before it is refused.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import grpc

from imgedit.inference.v1 import lora_pb2, lora_pb2_grpc
from imgedit.v1 import lora_pb2 as public_pb2
from services.common.checks import Scales, check_known

SERVICES = ("fill", "qwen_edit")
WATCH_SECONDS = 1.0
PERIOD_SECONDS = 30.0
TIMEOUT_SECONDS = 2.0


class LoraLists:
    """The LoRAs of each diffusion service.

    Each is asked as soon as it is serving, and again every 30 seconds.
    """

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], is_serving: Callable[[str], bool]) -> None:
        self._stubs = {
            name: lora_pb2_grpc.LoraServiceStub(channel) for name, channel in channels.items() if name in SERVICES
        }
        self._is_serving = is_serving
        self._offered: dict[str, tuple[public_pb2.Lora, ...]] = {}
        self._asked: dict[str, float] = {}
        self._watch_task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask the services that are serving, then continue in the background."""
        await self._update()
        self._watch_task = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop asking."""
        if self._watch_task is not None:
            self._watch_task.cancel()
            await asyncio.gather(self._watch_task, return_exceptions=True)

    def offered(self, services: Iterable[str]) -> list[public_pb2.Lora]:
        """The LoRAs that fit the models of these services, by service and name."""
        return [lora for service in dict.fromkeys(services) for lora in self._offered.get(service, ())]

    def of_services(self, asked: Scales) -> dict[str, Scales]:
        """The LoRAs of a request by the service whose model they fit."""
        names = {service: {lora.name for lora in loras} for service, loras in self._offered.items()}
        return {
            service: tuple((name, scale) for name, scale in asked if name in known) for service, known in names.items()
        }

    async def check(self, asked: Scales, services: Collection[str]) -> None:
        """Raise `InvalidArgument` for a name that none of these services has.

        The error names the nearest known one.
        """
        names = [name for name, _ in asked]
        if not set(names) <= self._names(services):
            await asyncio.gather(*(self.refresh(service) for service in self._stubs if service in services))
        check_known(names, self._names(services))

    async def refresh(self, service: str) -> None:
        """Ask one service now; without an answer its last one stays."""
        try:
            response = await self._stubs[service].ListLoras(lora_pb2.ListLorasRequest(), timeout=TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                return
            response = lora_pb2.ListLorasResponse()
        self._offered[service] = tuple(response.loras)
        self._asked[service] = time.monotonic()

    def _names(self, services: Iterable[str]) -> set[str]:
        return {lora.name for lora in self.offered(services)}

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._update()

    async def _update(self) -> None:
        now = time.monotonic()
        for service in self._stubs:
            if not self._is_serving(service):
                self._asked.pop(service, None)  # it may come back with another folder
        due = [
            service
            for service in self._stubs
            if self._is_serving(service) and now - self._asked.get(service, -math.inf) >= PERIOD_SECONDS
        ]
        await asyncio.gather(*(self.refresh(service) for service in due))
