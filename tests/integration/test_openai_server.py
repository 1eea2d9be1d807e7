"""The server of OpenAI's image API: TLS renewal, graceful shutdown, its process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import sys
from functools import partial
from pathlib import Path

import httpx2
import pytest
from openai import AsyncOpenAI

from imgedit import file_watch
from imgedit.errors import SettingsError
from imgedit.local.ports import Ports
from services.openai_api.app import OpenAiApi
from services.openai_api.server import RunningHttpServer
from services.openai_api.settings import OpenAiApiSettings
from tests.support.waiting import wait_for

from .authority import Authority, Pair
from .openai_door import before, upload
from .scripted import eventually, world

pytestmark = pytest.mark.slow


def shown(port: int, authority: Authority) -> bytes:
    """The certificate of a new connection, verified against the authority."""
    context = ssl.create_default_context(cafile=str(authority.certificate))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        return secured.getpeercert(binary_form=True) or b""


async def test_certificates_on_both_sides_and_a_renewed_one_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_watch, "CHECK_SECONDS", 0.05)
    monkeypatch.setattr("services.openai_api.server.CHECK_SECONDS", 0.05)
    authority = Authority(tmp_path, "authority")
    inner, first, second = (authority.issue(name) for name in ("inner", "first", "second"))
    own = Pair(tmp_path / "tls.crt", tmp_path / "tls.key")
    for source, target in ((first.certificate, own.certificate), (first.key, own.key)):
        shutil.copy(source, target)
    async with (
        world(tls_certificate=str(inner.certificate), tls_key=str(inner.key)) as running,
        before(
            running,
            tls_certificate=str(own.certificate),
            tls_key=str(own.key),
            orchestrator_tls_ca=str(authority.certificate),
        ) as at,
    ):
        context = ssl.create_default_context(cafile=str(authority.certificate))
        async with AsyncOpenAI(
            base_url=f"https://127.0.0.1:{at.server.port}/v1",
            api_key="none",
            max_retries=0,
            http_client=httpx2.AsyncClient(verify=context),
        ) as client:
            assert (await client.images.edit(image=upload(), prompt="a gym")).data
        before_renewal = await asyncio.to_thread(shown, at.server.port, authority)
        for source, target in ((second.certificate, own.certificate), (second.key, own.key)):
            shutil.copy(source, target)
        renewed = partial(shown, at.server.port, authority)
        await asyncio.to_thread(wait_for, lambda: renewed() != before_renewal)


async def test_a_server_that_ends_says_so_and_finishes_what_runs() -> None:
    async with world() as running:
        address = f"127.0.0.1:{running.orchestrator.port}"
        settings = OpenAiApiSettings(port=0, metrics_port=0, orchestrator=address, drain_seconds=0.5, grace_seconds=60)
        server = RunningHttpServer(OpenAiApi(settings), settings)
        await server.start()
        url = f"http://127.0.0.1:{server.port}"
        script = running.scripts["qwen_edit"]
        script.gate.clear()
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as client:
            edit = asyncio.ensure_future(client.images.edit(image=upload(), prompt="a gym"))
            await eventually(lambda: script.running == 1)
            async with httpx2.AsyncClient() as other:
                assert (await other.get(f"{url}/healthz")).status_code == 200
                draining = asyncio.ensure_future(server.drain())
                await asyncio.sleep(0)
                assert (await other.get(f"{url}/healthz")).status_code == 503
            script.gate.set()
            assert (await edit).data
        await draining


async def test_the_process_serves_and_ends_with_code_0(tmp_path: Path) -> None:
    ports = Ports.free(gateway=True)
    prefix = "IMGEDIT_OPENAI_API_"
    environment = {
        **os.environ,
        f"{prefix}PORT": str(ports.openai),
        f"{prefix}METRICS_PORT": str(ports.metrics_port("openai_api")),
        f"{prefix}DRAIN_SECONDS": "0",
    }
    command = [sys.executable, "-m", "services.openai_api"]
    with (tmp_path / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=log)
    try:
        await eventually(lambda: ready(ports.metrics_port("openai_api")), seconds=120)
    finally:
        process.send_signal(signal.SIGTERM)
        code = await process.wait()
    assert code == 0, (tmp_path / "log").read_text()


def ready(port: int) -> bool:
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx2.TransportError:
        return False


def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = OpenAiApiSettings(port=taken.getsockname()[1], metrics_port=0)
        with pytest.raises(SettingsError, match=f"cannot listen on 127.0.0.1:{settings.port}"):
            RunningHttpServer(OpenAiApi(settings), settings)
