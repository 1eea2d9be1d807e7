"""Faults with real processes while an edit runs.

Nothing hangs or is lost, and the next edit's bytes are the same.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from imgedit import EditClient, SyncEditClient
from imgedit.errors import DeadlineExceeded, ImgeditError, QueueFull
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of, is_serving
from imgedit.v1 import edit_pb2
from tests.support.waiting import wait_for

from .conftest import WORK_PIXELS

FILL = {"experiment": "ben2_flux_fill", "prompt": "a gym", "steps": 20, "seed": 11}
QWEN = {"experiment": "ben2_qwen_image", "prompt": "a gym", "steps": 20, "seed": 11}
OF_SERVICE = {"segmentation": ("segment", FILL), "fill": ("fill", FILL), "qwen_edit": ("qwen_edit", QWEN)}


@pytest.fixture(scope="module")
def tended(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose supervisor brings back what dies, as `imgedit up` does."""
    ports = Ports.free()
    environment = {
        **environment_of(ports, models, max_work_pixels=WORK_PIXELS),
        "IMGEDIT_ORCHESTRATOR_RERUN_WAIT_SECONDS": "90",
        "IMGEDIT_FILL_MAX_WAITING": "2",
        "IMGEDIT_FILL_MAX_BATCH": "1",
    }
    stack = Stack(ports, tmp_path_factory.mktemp("logs"), environment)
    is_over = threading.Event()

    def tend() -> None:
        while not is_over.wait(0.1):
            list(stack.tend())

    tending = threading.Thread(target=tend)
    try:
        stack.start()
        list(stack.wait_until_serving(timeout=180))
        tending.start()
        yield stack
    finally:
        is_over.set()
        if tending.ident is not None:
            tending.join()
        stack.stop()


@pytest.fixture(scope="module")
def wanted(tended: Stack, photo: Path) -> dict[str, bytes]:
    """The responses of undisturbed edits, by experiment."""
    with client_of(tended) as client:
        return {str(edit["experiment"]): client.edit(photo, **edit).output_image for edit in (FILL, QWEN)}


def client_of(stack: Stack) -> SyncEditClient:
    return SyncEditClient(stack.ports.address("orchestrator"), retries=0)


def pid(stack: Stack, service: str) -> int:
    return stack.processes[service].pid


def at_stage(name: str, act: Callable[[], object]) -> Callable[[edit_pb2.EditEvent], None]:
    """Acts once the stage has begun, for painting stages at the second step."""
    has_acted = False

    def listen(event: edit_pb2.EditEvent) -> None:
        nonlocal has_acted
        paints = name in ("fill", "qwen_edit")
        is_due = event.progress.step == 2 if paints else event.stage.name == name
        if is_due and not has_acted:
            has_acted = True
            act()

    return listen


@pytest.mark.parametrize("service", list(OF_SERVICE))
def test_a_service_killed_in_mid_stage_is_waited_for_and_the_answer_is_the_same(
    tended: Stack, wanted: dict[str, bytes], photo: Path, service: str
) -> None:
    stage, edit = OF_SERVICE[service]
    if service == "segmentation":  # its work is too short to be hit while it runs
        os.kill(pid(tended, service), signal.SIGSTOP)

    def kill() -> None:
        threading.Timer(
            0.3 if service == "segmentation" else 0, os.kill, (pid(tended, service), signal.SIGKILL)
        ).start()

    stages: list[str] = []

    def listen(event: edit_pb2.EditEvent) -> None:
        stages.extend([event.stage.name] if event.HasField("stage") else [])
        act(event)

    act = at_stage(stage, kill)
    with client_of(tended) as client:
        answer = client.edit(photo, **edit, on_event=listen, timeout=150)
    assert answer.output_image == wanted[str(edit["experiment"])]
    if service != "segmentation":
        assert stages.count(stage) == 2
    assert metric(tended.ports.metrics_port("orchestrator"), f'imgedit_stage_reruns_total{{stage="{stage}"}}') == 1


@pytest.mark.parametrize("service", list(OF_SERVICE))
def test_a_service_that_hangs_costs_its_edit_the_deadline_and_no_other(
    tended: Stack, wanted: dict[str, bytes], photo: Path, service: str
) -> None:
    _, edit = OF_SERVICE[service]
    process = pid(tended, service)
    os.kill(process, signal.SIGSTOP)
    try:
        with client_of(tended) as client:
            started = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.edit(photo, **edit, timeout=2)
            assert time.monotonic() - started < 15
    finally:
        os.kill(process, signal.SIGCONT)
    with client_of(tended) as client:
        assert client.edit(photo, **edit).output_image == wanted[str(edit["experiment"])]


@pytest.mark.parametrize("stage", ["segment", "mask", "fill", "composite"])
async def test_a_caller_that_leaves_at_any_stage_leaves_nothing_behind(
    tended: Stack, wanted: dict[str, bytes], photo: Path, stage: str
) -> None:
    async with EditClient(tended.ports.address("orchestrator"), retries=0) as client:
        reached = asyncio.Event()
        edit = asyncio.create_task(client.edit(photo, **FILL, on_event=at_stage(stage, reached.set)))
        await asyncio.wait_for(reached.wait(), 60)
        edit.cancel()
        with pytest.raises(asyncio.CancelledError):
            await edit
        port = tended.ports.metrics_port("orchestrator")
        await asyncio.to_thread(wait_for, lambda: metric(port, "imgedit_edits_in_flight") == 0)
        assert metric(port, "imgedit_edit_bytes") == 0
        assert (await client.edit(photo, **FILL)).output_image == wanted["ben2_flux_fill"]


def test_a_full_queue_refuses_with_a_time_to_retry_and_finishes_the_others(
    tended: Stack, wanted: dict[str, bytes], photo: Path
) -> None:
    def outcome(seed: int) -> edit_pb2.EditResponse | ImgeditError:
        try:
            return client.edit(photo, **{**FILL, "steps": 50, "seed": seed})
        except ImgeditError as error:
            return error

    with client_of(tended) as client, ThreadPoolExecutor(10) as threads:
        outcomes = list(threads.map(outcome, range(10)))
        refused = [error for error in outcomes if isinstance(error, ImgeditError)]
        assert refused
        assert len(refused) < 10
        for error in refused:
            assert type(error) is QueueFull
            assert error.stage == "fill"
            assert error.retry_after_seconds
        assert client.edit(photo, **FILL).output_image == wanted["ben2_flux_fill"]


@contextmanager
def another_orchestrator(stack: Stack) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """One more, before the same model services; it drains as in a cluster."""
    ports = Ports.free()
    environment = {
        **os.environ,
        **stack.environment,
        "IMGEDIT_ORCHESTRATOR_PORT": str(ports.base),
        "IMGEDIT_ORCHESTRATOR_METRICS_PORT": str(ports.metrics_base),
        "IMGEDIT_ORCHESTRATOR_DRAIN_SECONDS": "0.5",
    }
    command = [sys.executable, "-m", "services.orchestrator"]
    with (stack.logs / "another.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: is_serving(f"127.0.0.1:{ports.base}"))
        yield process, f"127.0.0.1:{ports.base}"
    finally:
        process.kill()
        process.wait()


def test_two_orchestrators_share_the_models(tended: Stack, wanted: dict[str, bytes], photo: Path) -> None:
    with (
        another_orchestrator(tended) as (_, address),
        client_of(tended) as first,
        SyncEditClient(address, retries=0) as second,
        ThreadPoolExecutor(4) as threads,
    ):
        edits = [threads.submit(client.edit, photo, **edit) for client in (first, second) for edit in (FILL, QWEN)]
        assert all(edit.result().success for edit in edits)
        for client in (first, second):
            assert client.edit(photo, **FILL).output_image == wanted["ben2_flux_fill"]


def test_an_orchestrator_told_to_stop_finishes_its_edit_and_ends_with_0(
    tended: Stack, wanted: dict[str, bytes], photo: Path
) -> None:
    with another_orchestrator(tended) as (process, address):
        with SyncEditClient(address, retries=0) as client:
            answer = client.edit(photo, **FILL, on_event=at_stage("fill", process.terminate))
            assert answer.output_image == wanted["ben2_flux_fill"]
        assert process.wait(30) == 0


def test_the_timings_of_an_answer_are_those_of_the_histogram(tended: Stack, photo: Path) -> None:
    port = tended.ports.metrics_port("orchestrator")

    def seconds(stage: str) -> float:
        return metric(port, f'imgedit_stage_duration_seconds_sum{{stage="{stage}"}}')

    with client_of(tended) as client:
        before = {stage: seconds(stage) for stage in ("segment", "mask", "fill", "composite")}
        answer = client.edit(photo, **FILL)
    assert [timing.name for timing in answer.stage_timings] == list(before)
    for timing in answer.stage_timings:
        assert seconds(timing.name) - before[timing.name] == pytest.approx(timing.seconds, abs=1e-6)


def metric(port: int, sample: str) -> float:
    """A sample's value; 0 before its first one."""
    text = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5).read().decode()
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{sample} ")), 0.0)
