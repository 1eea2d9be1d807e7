"""Unparsable headers at the edge: the sender gets an error, other calls continue."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import grpc
import httpx2
from google.rpc import status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit.errors import InvalidArgument, from_status
from imgedit.local.gateway import Address
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from tests import http2
from tests.deploy.edges import Orchestrator, edge

LIST = "/imgedit.v1.EditService/ListExperiments"
REST_LIST = "/api/image_editing/experiments"
EMPTY = b"\0\0\0\0\0"
"""An empty message as gRPC frames it."""

REFUSED = [{"grpc-timeout": value} for value in ("x", "-1S", "1 S", "123456789S", "", "1S,2S")]
REFUSED_OF_GRPC = [{"grpc-encoding": "junk"}, {"grpc-encoding": ""}]
DROPPED = [
    {"grpc-status": "junk"},
    {"grpc-message": "%zz"},
    {"grpc-previous-rpc-attempts": "x"},
    {"grpc-retry-pushback-ms": "x"},
    {"grpc-internal-encoding-request": "junk"},
    {"grpc-accept-encoding": "junk"},
    {"grpc-trace-bin": "!"},
    {"grpc-tags-bin": "!"},
    {"x-anything-bin": "!"},
    {"te": "junk"},
    {"x-envoy-attempt-count": "9" * 6000},
    {"x-envoy-retry-on": "5xx"},
    {"x-envoy-upstream-rq-timeout-ms": "1"},
]


async def grpc_over_http1(client: httpx2.AsyncClient, headers: dict[str, str]) -> httpx2.Response:
    """A gRPC call with headers that no gRPC library would send."""
    return await client.post(LIST, headers={"content-type": "application/grpc", **headers}, content=EMPTY)


TRAILERS = [
    {b"grpc-timeout": b"x"},
    {b"grpc-encoding": b"junk"},
    {b"grpc-status": b"junk"},
    {b"grpc-trace-bin": b"!"},
    {b"x-anything-bin": b"!"},
]


async def others_calls_succeed(public: Address) -> None:
    """As many connections and calls as reach every worker of the edge."""
    for _ in range(6):
        async with (
            httpx2.AsyncClient(base_url=f"http://{public}", timeout=30) as client,
            grpc.aio.insecure_channel(str(public)) as channel,
        ):
            answer = await client.get(REST_LIST, headers={"grpc-timeout": "30S"})
            assert answer.status_code == 200, answer.text
            stub = edit_pb2_grpc.EditServiceStub(channel)
            await stub.ListExperiments(edit_pb2.ListExperimentsRequest(), timeout=30, compression=grpc.Compression.Gzip)


async def test_a_strangers_junk_headers_break_nobody_elses_calls(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public:
        for group in (REFUSED, REFUSED_OF_GRPC, DROPPED):
            for headers in group * 2:
                async with httpx2.AsyncClient(base_url=f"http://{public}", timeout=30) as client:
                    await client.get(REST_LIST, headers=headers)
                    await grpc_over_http1(client, headers)
            await others_calls_succeed(public)


async def test_a_strangers_trailers_break_nobody_elses_calls(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public:
        for path in (LIST, REST_LIST, "/grpc.health.v1.Health/Check", "/imgedit.v1.EditService/EditBatch"):
            for trailers in TRAILERS * 4:
                await http2.call(public.port, path.encode(), trailers)
        await others_calls_succeed(public)
        async with grpc.aio.insecure_channel(str(public)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for _ in range(6):
                await stub.Check(health_pb2.HealthCheckRequest(), timeout=30)


async def test_a_junk_header_is_refused_by_name_or_does_not_go_on(tmp_path: Path) -> None:
    orchestrator = Orchestrator()
    async with edge(orchestrator, tmp_path) as public, httpx2.AsyncClient(base_url=f"http://{public}") as client:
        orchestrator.metadata.clear()
        for headers in REFUSED:
            refused(await client.get(REST_LIST, headers=headers), "grpc-timeout")
            assert (await grpc_over_http1(client, headers)).headers["grpc-status"] == "3"
        for headers in REFUSED_OF_GRPC:
            assert (await grpc_over_http1(client, headers)).headers["grpc-status"] == "12"
        assert not orchestrator.metadata
        for headers in DROPPED:
            assert (await client.get(REST_LIST, headers=headers)).status_code == 200
            assert (await grpc_over_http1(client, headers)).status_code == 200
        [name] = {name for headers in orchestrator.metadata for name in headers if name.startswith("x-envoy-attempt")}
        assert {headers[name] for headers in orchestrator.metadata} == {"1"}
        assert not {name for headers in orchestrator.metadata for name in headers if name.endswith("-bin")}


def refused(answer: httpx2.Response, field: str) -> None:
    """The answer is a google.rpc.Status that names the field."""
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"]) == (400, 3)
    by_type = {detail["@type"].rsplit(".", 1)[-1]: detail for detail in body["details"]}
    assert by_type["ErrorInfo"] == {**by_type["ErrorInfo"], "reason": "INVALID_FIELD", "domain": "imgedit"}
    assert by_type["BadRequest"]["fieldViolations"][0]["field"] == field
    assert any("가" <= char <= "힣" for char in by_type["LocalizedMessage"]["message"])


async def test_a_refused_grpc_call_carries_the_details_of_every_error(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public, httpx2.AsyncClient(base_url=f"http://{public}") as client:
        answer = await grpc_over_http1(client, {"grpc-timeout": "soon"})
        encoded = answer.headers["grpc-status-details-bin"]
        error = from_status(status_pb2.Status.FromString(base64.b64decode(encoded)))
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == "grpc-timeout"
    assert "soon" in error.message


async def test_bytes_that_are_no_text_in_a_path_stay_at_the_edge(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public:
        for path in (LIST, REST_LIST, "/grpc.health.v1.Health/Check"):
            await http2.call(public.port, path.encode() + b"?x=\xff")
        await others_calls_succeed(public)


async def test_headers_that_grpc_would_refuse_at_random_are_refused_with_their_size(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public, httpx2.AsyncClient(base_url=f"http://{public}") as client:
        for size, is_taken in ((6000, True), (7500, False), (9000, False), (20_000, False)):
            text = "x" * size
            for _ in range(5):
                for answer in (
                    await client.get(REST_LIST, headers={"user-agent": text}),
                    await client.get(REST_LIST, params={"page_token": text}),
                ):
                    if is_taken:
                        assert answer.status_code == 200, answer.text
                    else:
                        refused(answer, "headers")
