"""SIGHUP: the catalogue is read again, whatever runs meanwhile.

A file with faults changes nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from imgedit import SyncEditClient
from imgedit.errors import ExperimentNotFound
from imgedit.local.ports import Ports
from imgedit.v1 import edit_pb2, edit_pb2_grpc, profile_pb2
from services.orchestrator.catalogue.experiments import SHIPPED
from tests.support.waiting import wait_for

from .conftest import RunningStack
from .orchestrators import Orchestrator, orchestrator, spawn


@pytest.fixture
def catalogue(tmp_path: Path) -> Path:
    path = tmp_path / "experiments.yaml"
    path.write_text(SHIPPED.read_text(encoding="utf-8"), encoding="utf-8")
    return path


@pytest.fixture
def running(stack: RunningStack, catalogue: Path, tmp_path: Path) -> Iterator[Orchestrator]:
    with orchestrator(stack.ports, catalogue, tmp_path) as started:
        yield started


def reloads(running: Orchestrator, outcome: str) -> float:
    return running.metric(f'imgedit_catalogue_reloads_total{{outcome="{outcome}"}}')


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_a_new_catalogue_serves_the_next_edit_and_the_running_one_keeps_its_own(
    running: Orchestrator, catalogue: Path, photo: Path
) -> None:
    read_at = running.metric("imgedit_catalogue_read_timestamp_seconds")
    reloaded_while_running = False

    def reload_at_the_first_step(event: edit_pb2.EditEvent) -> None:
        nonlocal reloaded_while_running
        if event.HasField("progress") and not reloaded_while_running:
            replace(catalogue, 'id: "ben2_qwen_image"', 'id: "my_qwen_image"')
            running.hang_up()
            wait_for(lambda: reloads(running, "done") == 1)
            reloaded_while_running = True

    with SyncEditClient(running.target) as client:
        answer = client.edit(
            photo, experiment="ben2_qwen_image", prompt="a gym", steps=50, on_event=reload_at_the_first_step
        )
        assert reloaded_while_running
        assert (answer.success, answer.experiment_id) == (True, "ben2_qwen_image")
        assert client.edit(photo, experiment="my_qwen_image", prompt="a gym", steps=10, strength=0.1).success
        with pytest.raises(ExperimentNotFound, match="my_qwen_image"):
            client.edit(photo, experiment="ben2_qwen_image", prompt="a gym")
        assert [experiment.id for experiment in client.experiments()] == ["ben2_flux_fill", "my_qwen_image", "ben2"]
    assert running.metric("imgedit_catalogue_read_timestamp_seconds") > read_at


def test_a_file_with_faults_keeps_the_old_catalogue_and_names_every_fault(
    running: Orchestrator, catalogue: Path
) -> None:
    read_at = running.metric("imgedit_catalogue_read_timestamp_seconds")
    replace(catalogue, "choose: background", "choose: foreground")
    replace(catalogue, "direction_fraction: 0.25", "direction_fraction: 9")
    running.hang_up()
    wait_for(lambda: reloads(running, "failed") == 1)
    assert reloads(running, "done") == 0
    assert running.metric("imgedit_catalogue_read_timestamp_seconds") == read_at
    [line] = running.logged("the catalogue has faults")
    assert line["level"] == "ERROR"
    lines = catalogue.read_text(encoding="utf-8").splitlines()
    faulty = [n for n, text in enumerate(lines, 1) if "foreground" in text or "direction_fraction" in text]
    faults = [str(fault) for fault in line["faults"]]  # type: ignore[attr-defined]
    assert [fault.rpartition("experiments.yaml:")[2].split(":")[0] for fault in faults] == [str(n) for n in faulty]
    assert "mask.choose" in faults[0]

    catalogue.unlink()
    running.hang_up()
    wait_for(lambda: reloads(running, "failed") == 2)
    assert running.process.poll() is None
    with SyncEditClient(running.target) as client:
        assert len(client.experiments()) == 3
    catalogue.write_text(SHIPPED.read_text(encoding="utf-8"), encoding="utf-8")
    running.hang_up()
    wait_for(lambda: reloads(running, "done") == 1)


def test_pages_go_on_behind_the_last_experiment_when_the_catalogue_changes_in_between(
    running: Orchestrator, catalogue: Path
) -> None:
    with grpc.insecure_channel(running.target) as channel:
        stub = edit_pb2_grpc.EditServiceStub(channel)
        first = stub.ListExperiments(edit_pb2.ListExperimentsRequest(page_size=1))
        assert [experiment.id for experiment in first.experiments] == ["ben2_flux_fill"]

        head, _, rest = catalogue.read_text(encoding="utf-8").partition("experiments:\n")
        new = rest.partition('  - id: "ben2_qwen_image"')[0].replace("ben2_flux_fill", "brand_new")
        catalogue.write_text(f"{head}experiments:\n{new}{rest}", encoding="utf-8")
        running.hang_up()
        wait_for(lambda: reloads(running, "done") == 1)
        token = first.next_page_token
        second = stub.ListExperiments(edit_pb2.ListExperimentsRequest(page_size=1, page_token=token))
        assert [experiment.id for experiment in second.experiments] == ["ben2_qwen_image"]
        assert second.next_page_token

        replace(catalogue, '"ben2_flux_fill"', '"another"')
        running.hang_up()
        wait_for(lambda: reloads(running, "done") == 2)
        gone = stub.ListExperiments(edit_pb2.ListExperimentsRequest(page_size=100, page_token=token))
        assert [experiment.id for experiment in gone.experiments] == ["another", "ben2_qwen_image", "ben2"]

        for forged in ("1", "%%%", "a" * 100, token[:-3], "LTE6YQ=="):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ListExperiments(edit_pb2.ListExperimentsRequest(page_token=forged))
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT, forged


def test_many_hangups_at_once_and_before_the_start_is_done_end_nothing(
    stack: RunningStack, catalogue: Path, tmp_path: Path
) -> None:
    log = tmp_path / "early.log"
    process = spawn(stack.ports, catalogue, log)
    try:
        wait_for(lambda: blocks_hangup(process.pid))  # the interpreter itself takes a moment
        while '"serving"' not in log.read_text(encoding="utf-8"):
            assert process.poll() is None
            process.send_signal(signal.SIGHUP)
            time.sleep(0.02)
        for _ in range(50):
            process.send_signal(signal.SIGHUP)
        wait_for(lambda: "read again" in log.read_text(encoding="utf-8"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert any("read again" in json.loads(line)["message"] for line in log.read_text("utf-8").splitlines())
    finally:
        process.kill()
        process.wait()


def blocks_hangup(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    [mask] = [line.split()[1] for line in status.splitlines() if line.startswith("SigBlk")]
    return bool(int(mask, 16) & 1)


def test_a_model_service_lives_through_a_hangup(stack: RunningStack, client: SyncEditClient, photo: Path) -> None:
    found = subprocess.run(["pgrep", "-f", "services.fill"], capture_output=True, text=True, check=True).stdout.split()
    mine = [pid for pid in found if str(stack.ports.grpc_port("fill")) in Path(f"/proc/{pid}/environ").read_text()]
    assert mine
    for pid in mine:
        subprocess.run(["kill", "-HUP", pid], check=True)
    assert client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10, strength=0.1).success


def test_without_any_model_service_the_orchestrator_is_ready_and_says_what_is_missing(tmp_path: Path) -> None:
    with orchestrator(Ports.free(), SHIPPED, tmp_path) as running, SyncEditClient(running.target) as client:
        assert client.is_serving()
        client.experiments()
        started = time.monotonic()
        flux, qwen, cut_out = client.experiments()
        assert time.monotonic() - started < 5  # 0.05 s on a machine with nothing else to do
        assert not flux.available
        assert list(flux.unavailable_services) == ["segmentation", "fill"]
        assert list(qwen.unavailable_services) == ["segmentation", "qwen_edit"]
        assert list(cut_out.unavailable_services) == ["segmentation"]
        assert not any(feature.available for experiment in (flux, qwen, cut_out) for feature in experiment.features)


def test_with_every_service_all_is_available_and_profiles_are_told(client: SyncEditClient) -> None:
    flux, qwen, cut_out = client.experiments()
    assert all(experiment.available for experiment in (flux, qwen, cut_out))
    assert all(feature.available for feature in (*flux.features, *qwen.features))
    assert not cut_out.features[0].profiles  # nothing paints
    told = {spec.profile: (spec.steps, spec.guidance_scale, spec.strength) for spec in qwen.features[0].profiles}
    assert told == {
        profile_pb2.PROFILE_FAST: (8, 1.0, 1.0),
        profile_pb2.PROFILE_BALANCED: (28, 3.5, 0.8),
        profile_pb2.PROFILE_HIGH: (40, 3.5, 0.8),
    }


def test_a_terminal_that_closes_ends_the_orchestrator_cleanly(tmp_path: Path) -> None:
    """The kernel sends SIGHUP to the process whose controlling terminal this is."""
    master, slave = os.openpty()

    def own_the_terminal() -> None:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

    log = tmp_path / "terminal.log"
    process = spawn(Ports.free(), SHIPPED, log, preexec_fn=own_the_terminal, pass_fds=[slave])
    os.close(slave)
    try:
        wait_for(lambda: '"serving"' in log.read_text(encoding="utf-8"))
        process.send_signal(signal.SIGHUP)  # with the terminal still there
        wait_for(lambda: "read again" in log.read_text(encoding="utf-8"))
        os.close(master)
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
