"""Faults with real processes.

A service killed, a client gone, a deadline, Ctrl-C on `imgedit up`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from imgedit import EditClient, SyncEditClient
from imgedit.errors import DeadlineExceeded, EditCancelled, PromptLanguageUnsupported, ServiceUnavailable
from imgedit.local.ports import Ports
from imgedit.local.services import SERVICES
from imgedit.local.supervisor import Stack, environment_of, is_serving
from tests.support.waiting import wait_for

from .conftest import WORK_PIXELS


@pytest.fixture(scope="module")
def killable(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of this module's own."""
    ports = Ports.free()
    logs = tmp_path_factory.mktemp("logs")
    stack = Stack(ports, logs, environment_of(ports, models, max_work_pixels=WORK_PIXELS))
    try:
        stack.start()
        list(stack.wait_until_serving(timeout=180))
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def fragile(killable: Stack) -> Iterator[Stack]:
    """A stack whose processes a test may kill; what died is brought back afterwards."""
    yield killable
    wait_for(lambda: not list(killable.tend()) and all(is_serving(killable.ports.address(s)) for s in SERVICES))


def test_a_killed_service_is_named_and_edits_work_when_it_is_back(fragile: Stack, photo: Path) -> None:
    address = fragile.ports.address("fill")
    with SyncEditClient(fragile.ports.address("orchestrator")) as client:
        assert client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10).success
        fragile.processes["fill"].kill()
        fragile.processes["fill"].wait()
        with pytest.raises(ServiceUnavailable) as caught:
            client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10)
        assert caught.value.stage == "fill"
        assert address in caught.value.message
        # The others continue meanwhile.
        assert client.edit(photo, experiment="ben2_qwen_image", prompt="a gym", steps=10, strength=0.2).success

        messages: list[str] = []
        wait_for(lambda: messages.extend(fragile.tend()) or is_serving(address))
        assert any("exit code -9" in message for message in messages)
        assert client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10).success


def test_without_qwen_edit_flux_refuses_what_it_cannot_read(fragile: Stack, photo: Path) -> None:
    korean = "배경을 현대적인 체육관으로 변경"
    fragile.processes["qwen_edit"].kill()
    fragile.processes["qwen_edit"].wait()
    with SyncEditClient(fragile.ports.address("orchestrator")) as client:
        with pytest.raises(PromptLanguageUnsupported) as caught:
            client.edit(photo, experiment="ben2_flux_fill", prompt=korean, steps=10)
        assert caught.value.metadata["stage"] == "rewrite_prompt"
        assert "English" in caught.value.message
        assert client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10).success

        def is_translated() -> bool:
            list(fragile.tend())
            with suppress(PromptLanguageUnsupported):
                answer = client.edit(photo, experiment="ben2_flux_fill", prompt=korean, steps=10)
                return answer.effective.requested_prompt == korean
            return False

        wait_for(is_translated)


def test_a_killed_segmentation_only_warns_where_no_mask_depends_on_it(fragile: Stack, photo: Path) -> None:
    fragile.processes["segmentation"].kill()
    fragile.processes["segmentation"].wait()
    with SyncEditClient(fragile.ports.address("orchestrator")) as client:
        answer = client.edit(photo, experiment="ben2_flux_fill", feature="outpainting", prompt="to the left", steps=10)
        assert not answer.background_removed_image
        assert "cut-out" in answer.warnings[0]
        with pytest.raises(ServiceUnavailable) as caught:
            client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10)
        assert caught.value.stage == "segment"


def test_a_service_killed_in_mid_edit_ends_the_edit_with_its_name(fragile: Stack, photo: Path) -> None:
    def kill_at_the_first_step(event: object) -> None:
        if event.HasField("progress"):  # type: ignore[attr-defined]
            fragile.processes["qwen_edit"].kill()

    with (
        SyncEditClient(fragile.ports.address("orchestrator")) as client,
        pytest.raises(ServiceUnavailable) as caught,
    ):
        client.edit(
            photo, experiment="ben2_qwen_image", prompt="a gym", steps=50, on_event=kill_at_the_first_step, timeout=60
        )
    assert caught.value.stage == "qwen_edit"


def test_the_deadline_is_kept_and_the_next_edit_works(client: SyncEditClient, photo: Path) -> None:
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded):
        client.edit(photo, experiment="ben2_qwen_image", prompt="a gym", steps=50, timeout=0.2)
    assert time.monotonic() - started < 15
    assert client.edit(photo, experiment="ben2_qwen_image", prompt="a gym", steps=10, strength=0.2).success


async def test_a_client_that_leaves_stops_the_work_within_a_step(stack: object, photo: Path) -> None:
    metrics = f"http://127.0.0.1:{stack.ports.metrics_port('qwen_edit')}/metrics"  # type: ignore[attr-defined]
    before = steps_saved(metrics)
    async with EditClient(stack.target) as client:  # type: ignore[attr-defined]
        started = asyncio.Event()

        def seen(event: object) -> None:
            if event.HasField("progress"):  # type: ignore[attr-defined]
                started.set()

        edit = asyncio.create_task(
            client.edit(photo, experiment="ben2_qwen_image", prompt="a gym", steps=50, on_event=seen)
        )
        await asyncio.wait_for(started.wait(), 60)
        edit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await edit
        for _ in range(100):
            if steps_saved(metrics) > before:
                break
            await asyncio.sleep(0.05)
    assert steps_saved(metrics) > before


def steps_saved(url: str) -> float:
    import urllib.request

    text = urllib.request.urlopen(url, timeout=5).read().decode()
    return sum(
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if line.startswith("imgedit_engine_steps_saved_total")
    )


def start_up(models: Path, ports: Ports, logs: Path) -> subprocess.Popen[str]:
    """`imgedit up`, which the test must wait for."""
    command = [str(Path(sys.executable).parent / "imgedit"), "up", "--models", str(models), "--work-pixels", "36864"]
    command += ["--base-port", str(ports.base), "--metrics-base-port", str(ports.metrics_base), "--logs", str(logs)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_during_an_edit_leaves_no_process_behind(
    models: Path, photo: Path, tmp_path: Path, signum: signal.Signals
) -> None:
    ports = Ports.free()
    up = start_up(models, ports, tmp_path)
    wait_for(lambda: all(is_serving(ports.address(service)) for service in SERVICES), 120)
    children = psutil.Process(up.pid).children(recursive=True)
    assert len(children) >= 4  # and the processes that decode pictures
    running = False

    def interrupt(event: object) -> None:
        nonlocal running
        if event.HasField("progress") and not running:  # type: ignore[attr-defined]
            running = True
            up.send_signal(signum)

    # The edit either ends within the grace period or is cut off with a clear error.
    with SyncEditClient(ports.address("orchestrator")) as client, suppress(ServiceUnavailable, EditCancelled):
        client.edit(photo, experiment="ben2_qwen_image", prompt="a gym", steps=50, on_event=interrupt, timeout=60)
    output, _ = up.communicate(timeout=60)
    assert running
    assert up.returncode == 0, output
    assert "stopped" in output
    assert not any(child.is_running() for child in children)


def test_services_end_when_the_command_that_started_them_is_killed(models: Path, tmp_path: Path) -> None:
    ports = Ports.free()
    up = start_up(models, ports, tmp_path)
    wait_for(lambda: is_serving(ports.address("orchestrator")), 120)
    children = psutil.Process(up.pid).children(recursive=True)
    up.kill()
    up.communicate()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive


def test_a_service_that_cannot_start_ends_up_with_a_clear_message(models: Path, tmp_path: Path, stack: object) -> None:
    taken = stack.ports  # type: ignore[attr-defined]
    up = start_up(models, Ports(taken.base, Ports.free().metrics_base), tmp_path)
    output, _ = up.communicate(timeout=120)
    assert up.returncode == 1
    assert f"port {taken.base} is in use" in output.replace("\n", " ")


def test_missing_models_end_up_with_a_clear_message(tmp_path: Path) -> None:
    empty = tmp_path / "models"
    empty.mkdir()
    up = start_up(empty, Ports.free(), tmp_path)
    output, _ = up.communicate(timeout=120)
    assert up.returncode == 1
    assert str(empty) in output.replace("\n", "")
    assert "Traceback" not in output
