"""A separate orchestrator and catalogue per test, before the session's models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgedit.local.ports import Ports
from imgedit.local.services import SERVICES
from tests.support.waiting import wait_for

from .conftest import WORK_PIXELS


@dataclass(frozen=True)
class Orchestrator:
    """A running process."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int
    metrics_port: int

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def hang_up(self) -> None:
        self.process.send_signal(signal.SIGHUP)

    def logged(self, message: str) -> list[dict[str, object]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line for line in map(json.loads, lines) if message in line["message"]]

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def spawn(ports: Ports, catalogue: Path, log: Path, **options: Any) -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "IMGEDIT_ORCHESTRATOR_PORT": "0",
        "IMGEDIT_ORCHESTRATOR_METRICS_PORT": "0",
        "IMGEDIT_ORCHESTRATOR_EXPERIMENTS": str(catalogue),
        "IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS": str(WORK_PIXELS),
        "IMGEDIT_ORCHESTRATOR_DRAIN_SECONDS": "0",
        **{f"IMGEDIT_ORCHESTRATOR_{name.upper()}": ports.address(name) for name in SERVICES[1:]},
    }
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "services.orchestrator"], env=environment, stdout=file, stderr=file, **options
        )


def start(ports: Ports, catalogue: Path, folder: Path) -> Orchestrator:
    """Started and serving; the caller ends it."""
    log = folder / "orchestrator.log"
    process = spawn(ports, catalogue, log)
    wait_for(lambda: process.poll() is not None or '"serving"' in log.read_text(encoding="utf-8"))
    assert process.poll() is None, log.read_text(encoding="utf-8")
    [line] = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if '"serving"' in line]
    return Orchestrator(process, log, line["port"], line["metrics_port"])


@contextmanager
def orchestrator(ports: Ports, catalogue: Path, folder: Path) -> Iterator[Orchestrator]:
    """Started, and ended with SIGTERM; it must end cleanly."""
    running = start(ports, catalogue, folder)
    try:
        yield running
        running.process.terminate()
        assert running.process.wait(30) == 0
    finally:
        running.process.kill()
        running.process.wait()
