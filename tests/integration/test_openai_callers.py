"""Slow or greedy callers of OpenAI's image API hold only their share."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx2
import openai
import pytest
import pytest_asyncio
from PIL import Image
from prometheus_client import REGISTRY

from imgedit import tokens
from services.openai_api import app, exchange
from services.openai_api.masks import Masks

from .openai_door import INPAINTING, Door, before, decoded, hole, png, upload
from .scripted import World, eventually, picture, world

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

ALICE, BOB = (tokens.make(name, ["edit", "list"]) for name in ("alice", "bob"))
SIDE = 1000
"""Of a picture of noise, whose result is larger than what lies in the buffers of two sockets."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind() -> AsyncIterator[World]:
    async with world(tokens=";".join(credential.line for _, credential in (ALICE, BOB))) as running:
        yield running


@asynccontextmanager
async def connected(
    at: Door, *, reads: bool = True
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A plain connection; one that reads nothing has next to no room for what is sent."""
    plain = socket.socket()
    plain.setblocking(False)
    if not reads:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", at.server.port))
    reader, writer = await asyncio.open_connection(sock=plain, limit=1024)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def head(token: str, *lines: str, length: int = 1000) -> bytes:
    own = [f"authorization: Bearer {token}", "content-type: multipart/form-data; boundary=x", *lines]
    return "\r\n".join(
        ["POST /v1/images/edits HTTP/1.1", "host: x", f"content-length: {length}", *own, "", ""]
    ).encode()


async def status(reader: asyncio.StreamReader) -> int:
    line = await asyncio.wait_for(reader.readline(), 60)
    return int(line.split()[1])


async def rest(reader: asyncio.StreamReader) -> bytes:
    """All bytes until the connection ends or breaks."""
    found = b""
    with suppress(ConnectionError):
        while piece := await asyncio.wait_for(reader.read(65_536), 60):
            found += piece
    return found


def as_form(fields: dict[str, str], files: dict[str, bytes]) -> bytes:
    parts = [(f'"{name}"', text.encode()) for name, text in fields.items()]
    parts += [(f'"{name}"; filename="a"', data) for name, data in files.items()]
    made = [f"--x\r\ncontent-disposition: form-data; name={name}\r\n\r\n".encode() + data for name, data in parts]
    return b"\r\n".join([*made, b"--x--\r\n"])


def being_served(rpc: str) -> float:
    return REGISTRY.get_sample_value("imgedit_rpc_in_flight", {"service": "openai_api", "rpc": rpc}) or 0


def refused() -> float:
    labels = {"service": "openai_api", "rpc": "ImagesEdits", "code": "UNAUTHENTICATED"}
    return REGISTRY.get_sample_value("imgedit_rpc_duration_seconds_count", labels) or 0


def in_flight() -> float:
    return REGISTRY.get_sample_value("imgedit_openai_edits_in_flight") or 0


async def test_half_sent_requests_of_one_credential_hold_up_nobody_else(behind: World) -> None:
    async with (
        before(behind, api_key=BOB[0], max_requests=3, max_requests_per_caller=2) as at,
        connected(at) as (_, first),
        connected(at) as (_, second),
        connected(at) as (reader, third),
    ):
        for sender in (first, second):
            sender.write(head(ALICE[0]) + b"--x\r\n")
        await eventually(lambda: being_served("ImagesEdits") == 2)
        third.write(head(ALICE[0], length=0))
        assert await status(reader) == 429
        assert (await at.edit()).data


async def test_results_that_are_not_read_keep_their_places_until_their_connection_is_cut(behind: World) -> None:
    fields = {"prompt": "a gym", "n": "4", "model": INPAINTING}
    mask = hole((0, 0, 20, 20), (SIDE, SIDE))
    body = as_form(fields, {"image": picture(SIDE, SIDE), "mask": mask})
    async with (
        before(behind, api_key=BOB[0], send_seconds=3, max_edits_per_caller=4) as at,
        connected(at, reads=False) as (reader, writer),
    ):
        writer.write(head(ALICE[0], length=len(body)) + body)
        await writer.drain()
        await eventually(lambda: in_flight() == 4)
        await eventually(lambda: behind.fill.running == 0 and behind.fill.calls >= 4)
        assert (await at.edit()).data
        assert in_flight() == 4
        with pytest.raises(openai.RateLimitError, match="of this caller"):
            await at.client.with_options(api_key=ALICE[0]).images.edit(image=upload(), prompt="a gym")
        await eventually(lambda: in_flight() == 0)
        assert b"]}" not in await rest(reader)


async def test_files_behind_urls_that_are_not_read_hold_up_nobody_elses(
    behind: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MAX_DOWNLOADS_OF_ONE", 1)
    async with before(behind, api_key=ALICE[0], public_url="http://x", send_seconds=2) as at:
        large = {"image": upload(picture(SIDE, SIDE)), "mask": upload(hole((0, 0, 20, 20), (SIDE, SIDE)))}
        mine = (await at.edit(**large, response_format="url", model=INPAINTING)).data[0].url
        bobs = at.client.with_options(api_key=BOB[0]).images
        theirs = (await bobs.edit(image=upload(), prompt="a gym", response_format="url")).data[0].url
        paths = [address.removeprefix("http://x") for address in (mine, theirs)]
        async with connected(at, reads=False) as (_, writer), httpx2.AsyncClient(base_url=at.url) as client:
            writer.write(f"GET {paths[0]} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
            await eventually(lambda: being_served("ImagesResults") == 1)
            assert (await client.get(paths[0])).status_code == 429
            assert (await client.get(paths[1])).status_code == 200
            await eventually(lambda: being_served("ImagesResults") == 0)
            assert (await client.get(paths[0])).status_code == 200


async def test_headers_that_do_not_come_are_not_waited_for(behind: World) -> None:
    async with before(behind, api_key=BOB[0], head_seconds=0.5) as at:
        async with connected(at) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\n")
            assert await rest(reader) == b""
        async with connected(at) as (reader, writer):
            writer.write(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            assert await status(reader) == 200
            await reader.readuntil(b"SERVING\n")
            writer.write(b"GET /healthz HTTP/1.1\r\n")
            assert await rest(reader) == b""


async def test_bodies_of_refused_requests_hold_up_no_answer(behind: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "MAX_DISCARDED", 1)
    monkeypatch.setattr(exchange, "DISCARDED_SECONDS", 600.0)
    async with (
        before(behind, api_key=BOB[0]) as at,
        connected(at) as (held, first),
        connected(at) as (reader, second),
    ):
        before_it = refused()
        first.write(head("imgedit_nobodys"))
        await eventually(lambda: refused() == before_it + 1)
        second.write(head("imgedit_nobodys"))
        assert await status(reader) == 401
        first.write(bytes(1000))
        assert await status(held) == 401


async def test_a_body_that_never_ends_ends_with_the_answer(behind: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "DISCARDED_SECONDS", 0.1)
    async with before(behind, api_key=BOB[0]) as at, connected(at) as (reader, writer):
        writer.write(head("imgedit_nobodys"))
        answer = await rest(reader)
    assert b"HTTP/1.1 401" in answer
    assert b"connection: close" in answer.lower()


async def test_a_credential_that_is_no_token_by_its_length_is_told_as_one(behind: World) -> None:
    async with before(behind, api_key="x" * 12_000) as at:
        with pytest.raises(openai.AuthenticationError, match="12007 characters"):
            await at.edit()


async def test_masks_of_several_callers_are_decoded_in_turn() -> None:
    large = Image.effect_noise((800, 800), 90)
    slow = png(Image.merge("RGBA", [large] * 4))
    ended: list[str] = []
    masks = Masks(decode_seconds=60, max_pixels=10**7)
    await masks.start()

    async def translate(mask: bytes, caller: str) -> None:
        await masks.translated(mask, caller)
        ended.append(caller)

    try:
        mine = [asyncio.create_task(translate(slow, "alice")) for _ in range(4)]
        await asyncio.sleep(0)
        await translate(hole((0, 0, 20, 20)), "bob")
        assert ended.count("alice") < 4
        await asyncio.gather(*mine)
    finally:
        masks.close()


async def test_a_caller_who_leaves_in_mid_result_gives_the_places_back(behind: World) -> None:
    async with before(behind, api_key=BOB[0]) as at:
        assert decoded(await at.edit())
        body = as_form({"prompt": "a gym"}, {"image": picture()})
        async with connected(at) as (reader, writer):
            writer.write(head(BOB[0], length=len(body)) + body)
            assert await status(reader) == 200
        await eventually(lambda: in_flight() == 0)
