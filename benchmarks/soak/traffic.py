"""Callers that send mixed load through every door until they are stopped."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import httpx2

from benchmarks.soak import doors, requests
from benchmarks.soak.outcomes import CLEAR, Ended
from imgedit.channels import CHANNEL_OPTIONS
from imgedit.local.ports import Ports
from imgedit.v1 import edit_pb2, edit_pb2_grpc

DEADLINE = 240.0
SHORT_DEADLINES = (0.05, 2.0, 6.0)
SHORT_SHARE = 0.15
HUNG_AFTER = 30.0
"""Seconds past the deadline of a call until it counts as hung."""

REST_DEADLINE = 300.0
"""The catalogue's deadline of an edit whose caller sets none."""

SETTLE_SECONDS = 60.0
"""How long the edit of a caller that left may run on."""

RUNNING = (edit_pb2.EDIT_STATE_QUEUED, edit_pb2.EDIT_STATE_RUNNING)
CANCELLED = CLEAR | {doors.RESULT, "CANCELLED"}
LEFT = frozenset({"left"})


@dataclass
class Traffic:
    """The load. ended: every call that is over."""

    ports: Ports
    pictures: list[bytes]
    dice: random.Random
    ended: list[Ended] = field(default_factory=list)

    async def run(self, callers: int, stop: asyncio.Event) -> None:
        """Send calls, `callers` at once, until `stop` is set and the last one is over."""
        target, edge = self.ports.address("orchestrator"), f"http://127.0.0.1:{self.ports.gateway}"
        async with (
            grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel,
            httpx2.AsyncClient(base_url=edge, timeout=None, trust_env=False) as client,
            asyncio.TaskGroup() as group,
        ):
            stub = edit_pb2_grpc.EditServiceStub(channel)
            for _ in range(callers):
                group.create_task(self._caller(stub, client, stop))

    async def _caller(
        self, stub: edit_pb2_grpc.EditServiceAsyncStub, client: httpx2.AsyncClient, stop: asyncio.Event
    ) -> None:
        kinds: list[tuple[int, Callable[..., Awaitable[None]]]] = [
            (10, self._edit),
            (3, self._cancelled),
            (4, self._bad),
            (4, self._left),
            (1, self._garbage),
        ]
        weights, calls = [weight for weight, _ in kinds], [call for _, call in kinds]
        while not stop.is_set():
            await self.dice.choices(calls, weights)[0](stub, client)

    async def _edit(self, stub: edit_pb2_grpc.EditServiceAsyncStub, client: httpx2.AsyncClient) -> None:
        door = self.dice.choice(("Edit", "EditStream", "EditStream", "JSON", "JSON stream", "OpenAI"))
        request = requests.good(self.pictures, self.dice)
        if door == "OpenAI":
            request = requests.painting(self.pictures, self.dice)
            if request.experiment_id == "ben2_flux_fill":  # the form below has no margins
                request.feature_id = "inpainting"
            await self._count("edit over OpenAI", doors.openai(client, request), REST_DEADLINE)
            return
        timeout = self.dice.choice(SHORT_DEADLINES) if self.dice.random() < SHORT_SHARE else DEADLINE
        calls = {
            "Edit": lambda: doors.unary(stub, request, timeout),
            "EditStream": lambda: doors.stream(stub, request, timeout),
            "JSON": lambda: doors.rest(client, request),
            "JSON stream": lambda: doors.rest_stream(client, request),
        }
        await self._count(f"edit over {door}", calls[door](), REST_DEADLINE if "JSON" in door else timeout)
        if self.ended[-1].end != doors.RESULT:
            await self._settle(stub, f"after a failed edit over {door}", request)

    async def _cancelled(self, stub: edit_pb2_grpc.EditServiceAsyncStub, client: httpx2.AsyncClient) -> None:  # noqa: ARG002
        request = requests.painting(self.pictures, self.dice)
        await self._count("cancel", doors.stream(stub, request, DEADLINE, cancel=True), DEADLINE, CANCELLED)

    async def _bad(self, stub: edit_pb2_grpc.EditServiceAsyncStub, client: httpx2.AsyncClient) -> None:
        name, request, reasons = requests.bad(self.pictures, self.dice)
        expected = reasons | {"TOO_MANY_EDITS"}
        if self.dice.random() < 0.5:
            await self._count(f"bad over gRPC: {name}", doors.stream(stub, request, DEADLINE), DEADLINE, expected)
        else:
            await self._count(f"bad over JSON: {name}", doors.rest(client, request), REST_DEADLINE, expected)

    async def _left(self, stub: edit_pb2_grpc.EditServiceAsyncStub, client: httpx2.AsyncClient) -> None:  # noqa: ARG002
        request, port = requests.painting(self.pictures, self.dice), self.ports.gateway or 0
        cuts = {
            "gRPC": doors.cut_grpc(self.ports.grpc_port("orchestrator"), request, DEADLINE),
            "JSON": doors.cut_rest(port, request),
            "an upload": doors.cut_rest(port, request, in_upload=True),
        }
        where = self.dice.choice(list(cuts))
        for name, cut in cuts.items():
            if name != where:
                cut.close()

        async def leave() -> str:
            await cuts[where]
            return "left"

        await self._count(f"socket cut in {where}", leave(), REST_DEADLINE, LEFT)
        await self._settle(stub, f"after a socket cut in {where}", request)

    async def _garbage(self, stub: edit_pb2_grpc.EditServiceAsyncStub, client: httpx2.AsyncClient) -> None:  # noqa: ARG002
        port = self.dice.choice((self.ports.gateway or 0, self.ports.grpc_port("orchestrator")))

        async def send() -> str:
            await doors.garbage(port, self.dice.randbytes(self.dice.choice((1, 64, 4096))))
            return "left"

        await self._count("bytes of no protocol", send(), DEADLINE, LEFT)

    async def _settle(self, stub: edit_pb2_grpc.EditServiceAsyncStub, kind: str, request: edit_pb2.EditRequest) -> None:
        """The server must be done with an edit that nobody waits for."""

        async def settled() -> str:
            asked = edit_pb2.GetEditRequest(request_id=request.request_id)
            ends_at = time.monotonic() + SETTLE_SECONDS
            while time.monotonic() < ends_at:
                try:
                    found = await stub.GetEdit(asked, timeout=DEADLINE)
                except grpc.aio.AioRpcError as error:
                    if (reason := doors.reason_of_call(error)) == "REQUEST_NOT_FOUND":
                        return "stopped"
                    raise doors.Unclear(reason) from error
                if found.state not in RUNNING:
                    return "stopped"
                await asyncio.sleep(0.5)
            return "not stopped"

        await self._count(kind, settled(), DEADLINE, frozenset({"stopped"}))

    async def _count(
        self, kind: str, call: Awaitable[str], deadline: float, expected: frozenset[str] = frozenset()
    ) -> None:
        began = time.monotonic()
        try:
            end, detail = await asyncio.wait_for(call, deadline + HUNG_AFTER), ""
        except TimeoutError:
            end, detail = "hung", f"no end {HUNG_AFTER:g} s after its deadline"
        except (doors.Unclear, httpx2.HTTPError, OSError, grpc.aio.AioRpcError) as error:
            end, detail = "lost", f"{type(error).__name__}: {error}"
        self.ended.append(Ended(kind, end, time.monotonic() - began, expected, detail))
