"""The edge's limits: open or half-sent calls of one caller block no other caller."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import product
from pathlib import Path

import grpc
import httpx2
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit import tokens
from imgedit.local import gateway
from imgedit.local.gateway import Address
from imgedit.tokens import Credential
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common.access import TokenGate
from services.orchestrator.access import SCOPES
from tests.deploy.edges import Orchestrator, edge

EDIT = "/imgedit.v1.EditService/Edit"
HEALTH = "/grpc.health.v1.Health/Check"
REST_EDIT = "/api/edit_with_comfyui"
MORE_THAN_ANY_BUDGET = 150
SHIPPED = gateway.edge_config
CONTENT_TYPES = ("application/json", "application/grpc", "text/plain")
PATHS = ("/nothing", "/healthz", "/openapi.json", "/api/image_editing/experiments", REST_EDIT, "/v1/edits/a/b:cancel")
RPCS = (HEALTH, "/grpc.health.v1.Health/Watch", EDIT, EDIT + "2", "/imgedit.v1.EditService/")


def gate() -> TokenGate:
    known = [
        Credential("editor", tokens.digest("editing"), frozenset({"edit", "list"})),
        Credential("reader", tokens.digest("reading"), frozenset({"list"})),
    ]
    return TokenGate(lambda: known, SCOPES)


@asynccontextmanager
async def half_sent(
    public: Address, path: str, content_type: str, token: str | None = None, *, method: str = "POST", sent: int = 2
) -> AsyncIterator[bytes]:
    """A request whose body does not end.

    Yields what is answered at once, which may be nothing.
    """
    reader, writer = await asyncio.open_connection(public.host, public.port)
    credential = f"authorization: Bearer {token}\r\n" if token else ""
    kind = f"te: trailers\r\ncontent-type: {content_type}\r\ncontent-length: 5000\r\n"
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\n{kind}{credential}\r\n"
    writer.write(head.encode() + bytes(sent))
    try:
        async with asyncio.timeout(1):
            answer = await reader.read(65536)
    except TimeoutError:
        answer = b""
    try:
        yield answer
    finally:
        writer.close()


async def others_are_served(public: Address, token: str = "editing") -> None:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(base_url=f"http://{public}", headers=headers, timeout=30) as client:
        answer = await client.post(REST_EDIT, json={"experiment_id": "a"})
        assert answer.status_code == 200, answer.text
    async with grpc.aio.insecure_channel(str(public)) as channel:
        request = health_pb2.HealthCheckRequest()
        await health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
        stub = edit_pb2_grpc.EditServiceStub(channel)
        await stub.Edit(edit_pb2.EditRequest(), timeout=30, metadata=tuple(headers.items()))


@pytest.mark.parametrize(("path", "content_type"), [(HEALTH, "application/grpc"), (EDIT, "application/grpc")])
async def test_half_sent_messages_take_nobodys_place(tmp_path: Path, path: str, content_type: str) -> None:
    async with edge(Orchestrator(gate()), tmp_path) as public, AsyncExitStack() as held:
        opened = [half_sent(public, path, content_type, "editing") for _ in range(MORE_THAN_ANY_BUDGET)]
        await asyncio.gather(*(held.enter_async_context(one) for one in opened))
        await others_are_served(public)


async def test_batches_that_stay_open_take_no_edits_place(tmp_path: Path) -> None:
    async with edge(Orchestrator(gate()), tmp_path) as public, AsyncExitStack() as held:
        opened = [
            half_sent(public, "/imgedit.v1.EditService/EditBatch", "application/grpc", "editing")
            for _ in range(MORE_THAN_ANY_BUDGET)
        ]
        await asyncio.gather(*(held.enter_async_context(one) for one in opened))
        await others_are_served(public)


async def test_health_cannot_be_watched_through_the_edge(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public, grpc.aio.insecure_channel(str(public)) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert await watch.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("token", "http", "code", "reason"),
    [
        (None, 401, 16, "UNAUTHENTICATED"),
        ("unknown", 401, 16, "UNAUTHENTICATED"),
        ("reading", 403, 7, "SCOPE_MISSING"),
    ],
)
async def test_a_stranger_is_refused_before_the_body_is_read(
    tmp_path: Path, token: str | None, http: int, code: int, reason: str
) -> None:
    async with edge(Orchestrator(gate()), tmp_path) as public:
        async with half_sent(public, REST_EDIT, "application/json", token) as answer:
            head, body = answer.split(b"\r\n\r\n", 1)
            assert head.startswith(b"HTTP/1.1 %d" % http)
            status = json.loads(body)
            assert (status["code"], status["details"][0]["reason"]) == (code, reason)
            assert any("가" <= char <= "힣" for char in status["details"][-1]["message"])
        async with half_sent(public, EDIT, "application/grpc", token) as answer:
            assert b"grpc-status: %d" % code in answer
            assert b"grpc-status-details-bin" in answer


async def test_no_body_is_held_of_which_no_credential_was_asked(tmp_path: Path) -> None:
    async with edge(Orchestrator(gate()), tmp_path) as public:

        async def answered(method: str, path: str, content_type: str) -> bool:
            async with half_sent(public, path, content_type, method=method, sent=4000) as answer:
                return answer.startswith(b"HTTP/1.1 ")

        calls = [*product(("GET", "POST", "PUT"), PATHS, CONTENT_TYPES), *product(("POST",), RPCS, CONTENT_TYPES)]
        found = await asyncio.gather(*(answered(*call) for call in calls))
    assert [call for call, is_answered in zip(calls, found, strict=True) if not is_answered] == []


def test_every_call_with_one_message_has_a_route_that_waits_for_it() -> None:
    [rpcs] = re.findall(r"EditService/\(([\w|]+)\)", (gateway.CONFIGURATIONS / "edge.yaml").read_text(encoding="utf-8"))
    methods = edit_pb2.DESCRIPTOR.services_by_name["EditService"].methods
    assert set(rpcs.split("|")) == {method.name for method in methods if not method.client_streaming}


async def test_a_known_caller_is_served_and_the_check_reaches_no_handler(tmp_path: Path) -> None:
    orchestrator = Orchestrator(gate())
    async with edge(orchestrator, tmp_path) as public:
        await others_are_served(public)
    assert [request.experiment_id for request in orchestrator.requests] == ["a", ""]
    assert not any("x-imgedit-credential-check" in metadata for metadata in orchestrator.metadata)


async def test_a_caller_cannot_take_the_check_for_its_call(tmp_path: Path) -> None:
    orchestrator = Orchestrator()
    async with edge(orchestrator, tmp_path) as public, httpx2.AsyncClient(base_url=f"http://{public}") as client:
        picture = base64.b64encode(b"picture").decode()
        headers = {"x-imgedit-credential-check": "1"}
        answer = await client.post(REST_EDIT, json={"input_image_base64": picture}, headers=headers)
    assert answer.json()["output_image_base64"] == picture
    assert orchestrator.requests[0].input_image == b"picture"


async def test_an_orchestrator_that_is_gone_is_503(tmp_path: Path) -> None:
    orchestrator = Orchestrator()
    async with edge(orchestrator, tmp_path) as public, httpx2.AsyncClient(base_url=f"http://{public}") as client:
        await orchestrator.server.stop(None)
        answer = await client.post(REST_EDIT, json={}, timeout=30)
    assert (answer.status_code, answer.json()["details"][0]["reason"]) == (503, "SERVICE_UNAVAILABLE")


class Large(Orchestrator):
    """Keeps results that are large beside the heap of the edge below."""

    async def GetEdit(
        self, request: edit_pb2.GetEditRequest, context: grpc.aio.ServicerContext
    ) -> edit_pb2.GetEditResponse:
        result = edit_pb2.EditResponse(success=True, output_image=bytes(16 * 2**20))
        return edit_pb2.GetEditResponse(request_id=request.request_id, result=result)


def tight(**options: object) -> gateway.Config:
    """The edge with little memory."""
    config = SHIPPED(**options)
    heap = config["overload_manager"]["resource_monitors"][0]["typed_config"]
    assert heap["max_heap_size_bytes"] > 2**32
    heap["max_heap_size_bytes"] = 160 * 2**20
    return config


async def ended_connections(public: Address) -> int:
    """The connections that the edge has ended as idle.

    0 while it refuses to answer.
    """
    async with httpx2.AsyncClient(timeout=60) as client:
        answer = await client.get(f"http://{public.host}:{public.port + 1}/metrics")
    name = "envoy_http_downstream_cx_idle_timeout"
    found = re.search(rf'^{name}{{[^}}]*prefix="edge"}} (\d+)$', answer.text, re.MULTILINE)
    return int(found[1]) if found else 0


async def test_json_answers_that_are_not_read_make_room_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "edge_config", tight)
    async with edge(Large(), tmp_path) as public, AsyncExitStack() as stack:
        loop = asyncio.get_running_loop()
        for _ in range(12):  # each holds over 20 MiB once the edge has turned its answer into JSON
            plain = socket.socket()
            plain.setblocking(False)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stack.callback(plain.close)
            await loop.sock_connect(plain, (public.host, public.port))
            await loop.sock_sendall(plain, b"GET /v1/edits/one HTTP/1.1\r\nhost: x\r\n\r\n")
        async with asyncio.timeout(90), httpx2.AsyncClient(timeout=60) as client:
            while not await ended_connections(public):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
            while (await client.get(f"http://{public}/v1/experiments")).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.2)


def short_lived(**options: object) -> gateway.Config:
    """The edge, whose connections grow old soon."""
    config = SHIPPED(**options)
    [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
    manager = chain["filters"][0]["typed_config"]
    manager["common_http_protocol_options"]["max_connection_duration"] = "1s"
    manager |= {"drain_timeout": "0.1s", "delayed_close_timeout": "0.1s"}
    return config


async def test_an_old_connection_ends_with_an_answer_and_never_between_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "edge_config", short_lived)
    async with edge(Orchestrator(), tmp_path) as public:
        reader, writer = await asyncio.open_connection(public.host, public.port)
        for is_last in (False, True):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert head.startswith("http/1.1 200"), head
            [length] = re.findall(r"content-length: (\d+)", head)
            await reader.readexactly(int(length))
            assert ("connection: close" in head) == is_last
            await asyncio.sleep(2)  # older than it may be, and drained
        assert not await reader.read()
        writer.close()
