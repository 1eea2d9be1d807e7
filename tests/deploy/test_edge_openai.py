"""OpenAI's image API through the edge: streaming, cancellation, error format."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI
from playwright.async_api import async_playwright, expect

from imgedit.local.gateway import Address
from tests.deploy.edges import Orchestrator, edge, edge_before
from tests.integration.openai_door import APPEARANCE, INPAINTING, Door, decoded, door, hole, upload
from tests.integration.scripted import eventually
from tests.web.conftest import LAUNCH

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

PUBLIC_URL = "http://images.example.org"


@asynccontextmanager
async def through(running: Door, folder: Path) -> AsyncIterator[Door]:
    """The same door behind the edge."""
    behind = [Address(running.world.orchestrator.port)]
    async with (
        edge_before(behind, folder, openai=[Address(running.server.port)]) as public,
        AsyncOpenAI(base_url=f"http://{public}/v1", api_key="none", max_retries=0) as client,
    ):
        await served(f"http://{public}")
        yield Door(running.world, running.server, client, f"http://{public}")


async def served(url: str) -> None:
    """Wait until the edge has found the service."""
    async with asyncio.timeout(60), httpx2.AsyncClient(base_url=url) as client:
        while (await client.get("/v1/models")).status_code != 200:  # noqa: ASYNC110  # Envoy tells nobody
            await asyncio.sleep(0.1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def at(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    async with door(public_url=PUBLIC_URL) as running, through(running, tmp_path_factory.mktemp("edge")) as found:
        yield found


async def test_the_package_edits_with_a_mask_and_streams_through_the_edge(at: Door) -> None:
    masked = await at.edit(mask=upload(hole((0, 0, 20, 20))), extra_body={"seed": 4})
    assert masked.data[0].model == INPAINTING
    events = [event async for event in await at.edit(stream=True, partial_images=1)]
    assert events[-1].type == "image_edit.completed"
    assert decoded(masked).startswith(b"\x89PNG")


async def test_a_result_behind_a_url_is_fetched_through_the_edge(at: Door) -> None:
    answer = await at.edit(response_format="url")
    async with httpx2.AsyncClient(base_url=at.url) as client:
        found = await client.get(answer.data[0].url.removeprefix(PUBLIC_URL))
    assert (found.status_code, found.headers["content-type"]) == (200, "image/png")


async def test_each_call_gets_an_id_at_the_edge_that_finds_it_in_every_log(at: Door) -> None:
    answers = [
        await at.client.images.with_raw_response.edit(image=upload(), prompt="a gym", model=APPEARANCE)
        for _ in range(2)
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert len(set(ids)) == 2
    assert [answer.parse().data[0].request_id for answer in answers] == ids


@pytest.mark.parametrize("stream", [False, True])
async def test_a_caller_who_leaves_the_edge_cancels_the_edit(at: Door, stream: bool) -> None:
    script = at.world.scripts["qwen_edit"]
    script.gate.clear()
    before = script.cancelled

    async def watched() -> None:
        answer = await at.edit(stream=stream)
        if stream:
            async for _ in answer:
                pass

    leaving = asyncio.ensure_future(watched())
    await eventually(lambda: script.running == 1)
    leaving.cancel()
    await eventually(lambda: script.cancelled == before + 1)
    script.gate.set()


async def test_what_a_web_page_sends_is_refused_behind_the_edge_too(at: Door) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await at.edit(extra_headers={"origin": "https://evil.example"})
    assert caught.value.param == "origin"


@pytest.mark.parametrize(
    ("path", "headers", "status", "code"),
    [
        ("/v1/images/generations", {}, 404, "not_found"),
        ("/v1/models/dall-e-2", {}, 404, "not_found"),
        ("/v1/models", {"grpc-timeout": "soon"}, 400, "invalid_field"),
    ],
)
async def test_the_edges_own_refusals_have_the_shape_of_the_api(
    at: Door, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    async with httpx2.AsyncClient(base_url=at.url) as client:
        answer = await client.get(path, headers=headers)
    assert_shape(answer, status, code)


async def test_the_description_of_all_paths_can_be_browsed(at: Door) -> None:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: make system-deps")
    async with httpx2.AsyncClient(base_url=at.url) as client:
        described = (await client.get("/openapi.json")).json()
        assert (await client.post("/docs")).status_code == 405
    asked, faults = [], []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=LAUNCH)
        page = await browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda fault: faults.append(fault))  # playwright marks what it calls
        await page.goto(f"{at.url}/docs")
        shown = page.locator("summary:has(.verb)")
        await expect(shown).to_have_count(sum(len(verbs) for verbs in described["paths"].values()), timeout=60_000)
        await page.locator("summary", has_text="/v1/images/edits").click()
        operation = page.locator("#ImagesEdits")
        await expect(operation.locator("td", has_text="output_compression").first).to_be_visible()
        await operation.get_by_role("link", name="ImagesResponse").click()
        await expect(page.locator("#ImagesResponse")).to_have_attribute("open", "")
        await browser.close()
    assert not faults
    assert all(url.startswith(at.url) for url in asked), "it asks nobody else"


async def test_without_the_service_its_paths_say_that_nothing_serves_them(tmp_path: Path) -> None:
    async with edge(Orchestrator(), tmp_path) as public, httpx2.AsyncClient(base_url=f"http://{public}") as client:
        assert_shape(await client.get("/v1/models"), 503, "service_unavailable")


def assert_shape(answer: httpx2.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/json")
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert error["code"] == code
