"""The edge's own paths beside the guide's, and which replica a call goes to."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from imgedit.errors import by_reason
from tests.deploy.edges import Orchestrator, edge

pytestmark = pytest.mark.slow

BODY = {"experiment_id": "ben2_flux_fill", "prompt": "a gym", "input_image_base64": base64.b64encode(b"a").decode()}
IDS = [f"edit-{number}" for number in range(24)]
"""So many that each of two replicas gets some of them, however they are hashed."""


@asynccontextmanager
async def clients_of(folder: Path, count: int) -> AsyncIterator[tuple[httpx2.AsyncClient, list[Orchestrator]]]:
    replicas = [Orchestrator() for _ in range(count)]
    async with (
        edge(replicas[0], folder, *replicas[1:]) as public,
        httpx2.AsyncClient(base_url=f"http://{public}", timeout=60) as client,
    ):
        yield client, replicas


async def test_each_path_of_v1_answers_as_the_guides_does(tmp_path: Path) -> None:
    async with clients_of(tmp_path, 1) as (client, _):
        guides = [
            await client.post("/api/edit_with_comfyui", json=BODY),
            await client.get("/api/image_editing/experiments"),
        ]
        ours = [await client.post("/v1/edits", json=BODY), await client.get("/v1/experiments")]
        assert [answer.status_code for answer in (*guides, *ours)] == [200] * 4
        assert [answer.json() for answer in ours] == [answer.json() for answer in guides]
        paged = await client.get("/v1/experiments", params={"page_size": 1})
        assert paged.status_code == 200


async def test_an_edit_can_be_looked_up_by_its_path(tmp_path: Path) -> None:
    async with clients_of(tmp_path, 1) as (client, _):
        await client.post("/v1/edits", json={**BODY, "request_id": "one"})
        assert (await client.get("/v1/edits/one")).json()["state"] == "EDIT_STATE_SUCCEEDED"
        unknown = await client.get("/v1/edits/two")
        assert unknown.status_code == 404
        assert unknown.json()["details"][0]["reason"] == "REQUEST_NOT_FOUND"


async def test_an_edit_is_estimated_by_its_path(tmp_path: Path) -> None:
    async with clients_of(tmp_path, 1) as (client, [orchestrator]):
        answer = await client.post("/v1/edits:estimate", json=BODY)
        assert answer.json() == {"seconds": 12.5, "queue_position": 2}
        assert [request.input_image for request in orchestrator.requests] == [b"a"]
        misspelt = await client.post("/v1/edits:estimate", json={**BODY, "stepps": 9})
        assert misspelt.status_code == 400


REFUSED = [
    ("GET", "/v1/edits", 405, "METHOD_NOT_ALLOWED"),
    ("PUT", "/v1/edits", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/v1/edits:estimate", 405, "METHOD_NOT_ALLOWED"),
    ("DELETE", "/v1/edits/one", 405, "METHOD_NOT_ALLOWED"),
    ("POST", "/v1/experiments", 405, "METHOD_NOT_ALLOWED"),
    ("POST", "/openapi.json", 405, "METHOD_NOT_ALLOWED"),
    ("GET", "/v1/edits/one/two", 404, "NOT_FOUND"),
]


async def test_what_is_no_call_is_refused(tmp_path: Path) -> None:
    async with clients_of(tmp_path, 1) as (client, _):
        for method, path, status, reason in REFUSED:
            answer = await client.request(method, path)
            assert (path, answer.status_code) == (path, status), answer.text
            assert reason_of(answer) == reason
        plain = await client.post("/v1/edits", content=b"{}", headers={"content-type": "text/plain"})
        assert (plain.status_code, reason_of(plain)) == (415, "UNSUPPORTED_MEDIA_TYPE")


def reason_of(answer: httpx2.Response) -> str:
    """The reason, whose class has the answer's code."""
    body = answer.json()
    reason: str = body["details"][0]["reason"]
    assert by_reason()[reason].code.value[0] == body["code"]
    return reason


async def test_a_look_up_and_a_cancel_reach_the_replica_of_the_edit(tmp_path: Path) -> None:
    async with clients_of(tmp_path, 2) as (client, replicas):
        for name in IDS:
            sent = {**BODY, "request_id": name}
            await client.post("/v1/edits", json=sent, headers={"x-imgedit-request-id": name})
        assert all(replica.requests for replica in replicas)
        for name in IDS:
            assert (await client.get(f"/v1/edits/{name}")).status_code == 200
            before = [len(replica.metadata) for replica in replicas]
            await client.post(f"/v1/edits/{name}:cancel", json={})
            asked = [len(replica.metadata) > seen for replica, seen in zip(replicas, before, strict=True)]
            holds = [name in {held.request_id for held in replica.requests} for replica in replicas]
            assert asked == holds


async def test_json_edits_without_an_id_are_spread_over_the_replicas(tmp_path: Path) -> None:
    async with clients_of(tmp_path, 2) as (client, replicas):
        for _ in range(32):
            assert (await client.post("/v1/edits", json=BODY)).status_code == 200
        assert all(replica.requests for replica in replicas)
