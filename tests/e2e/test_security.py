"""Whole edits with security on: usage, content policy, refused starts."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from imgedit import EditClient, SyncEditClient, tokens
from imgedit.errors import ContentRefused, Unauthenticated
from imgedit.local.ports import Ports
from imgedit.local.services import SERVICES
from imgedit.local.supervisor import Stack, credentials_of, environment_of
from imgedit.v1 import edit_pb2
from services.common.server import RunningServer
from services.orchestrator.__main__ import make_service
from services.orchestrator.policy import ALLOW, Review, Verdict
from services.orchestrator.settings import OrchestratorSettings
from tests.e2e.conftest import WORK_PIXELS, RunningStack
from tests.integration.authority import Authority

ROOT = Path(__file__).parents[2]
EDIT: dict[str, Any] = {"experiment": "ben2_flux_fill", "prompt": "a quiet zebra crossing", "steps": 10, "seed": 1}

reviews: list[Review] = []


def judge(review: Review) -> Verdict:
    """The content policy of these tests, named by module and function in the settings."""
    reviews.append(review)
    words = review.prompt.split()
    if review.subject in words:
        return Verdict("refuse", f"no such {review.subject} here")
    return Verdict("flag", "odd") if "odd" in words else ALLOW


@pytest.fixture(autouse=True)
def no_reviews() -> None:
    reviews.clear()


@asynccontextmanager
async def orchestrator(stack: RunningStack, **options: object) -> AsyncIterator[str]:
    """One more orchestrator before the stack's model services; its address."""
    settings = OrchestratorSettings(
        port=0,
        metrics_port=0,
        drain_seconds=0,
        max_work_pixels=WORK_PIXELS,
        **{service: stack.ports.target(service) for service in SERVICES[1:]},
        **options,  # type: ignore[arg-type]
    )
    server = RunningServer(make_service(settings), settings)
    await server.start()
    try:
        yield f"127.0.0.1:{server.port}"
    finally:
        await server.drain()


def accounts(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The lines of the usage log."""
    return [record.__dict__ for record in caplog.records if record.name == "imgedit.usage"]


async def test_every_edit_is_accounted_to_its_caller(
    stack: RunningStack, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level("INFO")
    made = [tokens.make_token(name, ["edit"]) for name in ("studio", "shop")]
    path = tmp_path / "tokens"
    path.write_text("\n".join(credential.line for _, credential in made))
    async with orchestrator(stack, tokens_file=str(path)) as address:
        for token, _ in made:
            async with EditClient(address, token=token) as client:
                answer = await client.edit(stack.photo, **EDIT)
        async with EditClient(address, token=made[0][0]) as client:
            with pytest.raises(Exception, match="there is no experiment"):
                await client.edit(stack.photo, **{**EDIT, "experiment": "unknown-thing"})
    studio, shop, failed = accounts(caplog)
    assert (studio["caller"], shop["caller"], failed["caller"]) == ("studio", "shop", "studio")
    assert (studio["experiment"], studio["feature"], studio["outcome"]) == ("ben2_flux_fill", "inpainting", "OK")
    assert studio["pixels"] == answer.width * answer.height
    # The second edit of the same picture finds its mask remembered; the network of FLUX runs again.
    assert 0 < shop["gpu_seconds"] <= shop["seconds"]
    assert 0 < studio["gpu_seconds"] <= 2 * studio["seconds"]
    assert (failed["outcome"], failed["gpu_seconds"], failed["experiment"]) == ("NOT_FOUND", 0, "unknown")
    everything = str([record.__dict__ for record in caplog.records])
    assert "zebra" not in everything
    assert "unknown-thing" not in str(accounts(caplog))
    assert not any(token in everything for token, _ in made)


async def test_a_cancelled_edit_is_accounted_with_the_steps_it_ran(
    stack: RunningStack, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    stepped = asyncio.Event()

    def on_event(event: edit_pb2.EditEvent) -> None:
        if event.HasField("progress") and event.progress.step >= 3:
            stepped.set()

    async with orchestrator(stack) as address, EditClient(address) as client:
        editing = asyncio.create_task(client.edit(stack.photo, **{**EDIT, "steps": 50}, on_event=on_event))
        await asyncio.wait_for(stepped.wait(), 60)
        editing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await editing
        for _ in range(100):
            if accounts(caplog):
                break
            await asyncio.sleep(0.05)
    [account] = accounts(caplog)
    assert account["outcome"] == "CANCELLED"
    assert 0 < account["gpu_seconds"] <= account["seconds"]


async def test_a_refused_prompt_costs_nothing(stack: RunningStack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with orchestrator(stack, content_policy=f"{__name__}:judge") as address, EditClient(address) as client:
        with pytest.raises(ContentRefused, match="no such prompt here"):
            await client.edit(stack.photo, **{**EDIT, "prompt": "a prompt with zebras"})
    [account] = accounts(caplog)
    assert (account["outcome"], account["gpu_seconds"]) == ("PERMISSION_DENIED", 0)
    assert [review.subject for review in reviews] == ["prompt"]
    assert "zebra" not in str([record.__dict__ for record in caplog.records])


async def test_a_refused_result_is_not_returned_and_not_previewed(stack: RunningStack) -> None:
    events: list[edit_pb2.EditEvent] = []
    async with orchestrator(stack, content_policy=f"{__name__}:judge") as address, EditClient(address) as client:
        with pytest.raises(ContentRefused, match="no such result here"):
            await client.edit(stack.photo, **{**EDIT, "prompt": "a result", "preview_every": 1}, on_event=events.append)
    assert {event.WhichOneof("event") for event in events} >= {"stage", "progress"}
    assert not [event for event in events if event.HasField("preview")]
    assert [review.subject for review in reviews] == ["prompt", "result"]
    assert reviews[1].picture is not None
    assert reviews[1].picture.shape == (600, 512, 3)
    assert [review.model_prompt for review in reviews] == [None, "a result"]


async def test_a_flagged_edit_goes_on_and_is_logged(stack: RunningStack, caplog: pytest.LogCaptureFixture) -> None:
    async with orchestrator(stack, content_policy=f"{__name__}:judge") as address, EditClient(address) as client:
        answer = await client.edit(stack.photo, **{**EDIT, "prompt": "an odd gym", "preview_every": 2})
    assert answer.success
    assert any("preview_every" in warning for warning in answer.warnings)
    flagged = [record.__dict__ for record in caplog.records if record.name == "imgedit.policy"]
    assert [(line["subject"], line["message"]) for line in flagged] == [
        ("prompt", "flag: odd"),
        ("result", "flag: odd"),
    ]


def start(module: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("service", "setting"), [("orchestrator", "TOKENS_FILE"), ("segmentation", "SERVICE_TOKEN_FILE")]
)
def test_a_start_without_credentials_beyond_this_machine_ends_with_one_line(service: str, setting: str) -> None:
    prefix = f"IMGEDIT_{service.upper()}_"
    options = {f"{prefix}HOST": "0.0.0.0", f"{prefix}PORT": "0", f"{prefix}METRICS_PORT": "0"}
    ended = start(f"services.{service}", **options)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert f"{prefix}{setting}" in line
    assert f"{prefix}INSECURE=true" in line


def test_a_content_policy_that_is_not_there_stops_the_start() -> None:
    ended = start("services.orchestrator", IMGEDIT_ORCHESTRATOR_CONTENT_POLICY="no.such:policy")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert "no.such:policy" in line


FORGED = '{"message": "forged"}'
LONG_PROMPT = " ".join(["zebra"] * 300) + f"\n{FORGED}\n"


def test_a_stack_behind_tokens_answers_none_but_its_own_and_writes_down_no_prompt(
    models: Path, photo: Path, tmp_path: Path
) -> None:
    token, credential = tokens.make_token("studio", ["edit"])
    path = tmp_path / "tokens"
    path.write_text(credential.line)
    ports = Ports.free()
    authority = Authority(tmp_path, "company")
    pair = authority.issue("orchestrator")
    environment = {
        **environment_of(ports, models, max_work_pixels=WORK_PIXELS),
        **credentials_of(path),
        "IMGEDIT_ORCHESTRATOR_TLS_CERTIFICATE": str(pair.certificate),
        "IMGEDIT_ORCHESTRATOR_TLS_KEY": str(pair.key),
    }
    running = Stack(ports, tmp_path / "logs", environment)
    try:
        running.start()
        list(running.wait_until_serving(timeout=180))
        public, ca = ports.address("orchestrator"), authority.certificate
        with SyncEditClient(public, token=token, tls_ca=ca) as client:
            for experiment in ("ben2_flux_fill", "ben2_qwen_image"):
                assert client.edit(photo, **{**EDIT, "experiment": experiment, "prompt": LONG_PROMPT}).success
        with SyncEditClient(public, tls_ca=ca) as client, pytest.raises(Unauthenticated):
            client.edit(photo, **EDIT)
        for port in (ports.grpc_port("orchestrator"), ports.grpc_port("fill")):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                stranger.sendall(b"GET /\nforged line\n" * 100)
                stranger.recv(1)
        for service, call in (
            ("segmentation", "/imgedit.inference.v1.SegmentationService/Segment"),
            ("fill", "/imgedit.inference.v1.FillService/Fill"),
            ("qwen_edit", "/imgedit.inference.v1.QwenEditService/Edit"),
        ):
            assert code_of(ports.address(service), call) == grpc.StatusCode.UNAUTHENTICATED
    finally:
        running.stop()
    for log in (tmp_path / "logs").glob("*.log"):
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        assert lines
        assert all(line["message"] != "forged" for line in lines)
        assert "zebra" not in log.read_text(encoding="utf-8")
        assert token not in log.read_text(encoding="utf-8")


def code_of(address: str, rpc: str) -> grpc.StatusCode:
    """How an empty call without a credential ends."""
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(rpc)(b"", timeout=10)
        except grpc.RpcError as error:
            return error.code()  # type: ignore[attr-defined,no-any-return]
    return grpc.StatusCode.OK
