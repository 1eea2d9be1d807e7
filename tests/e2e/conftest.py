"""One real stack for the session.

Four server processes with tiny checkpoints of the real classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from matplotlib import cbook

from imgedit import SyncEditClient
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of

WORK_PIXELS = 192 * 192


@dataclass(frozen=True)
class RunningStack:
    """Where the stack listens, and a photograph to edit."""

    ports: Ports
    photo: Path
    models: Path
    logs: Path

    @property
    def target(self) -> str:
        return self.ports.address("orchestrator")


@pytest.fixture(scope="session")
def photo() -> Path:
    """A JPEG portrait, 512x600."""
    return Path(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))


@pytest.fixture(scope="session")
def stack(models: Path, photo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The running services."""
    ports = Ports.free(gateway=True)
    environment = environment_of(ports, models, max_work_pixels=WORK_PIXELS)
    logs = tmp_path_factory.mktemp("logs")
    running = Stack(ports, logs, environment)
    try:
        running.start()
        list(running.wait_until_serving(timeout=180))
        yield RunningStack(ports, photo, models, logs)
    finally:
        running.stop()


@pytest.fixture
def client(stack: RunningStack) -> Iterator[SyncEditClient]:
    """A client of the running stack."""
    with SyncEditClient(stack.target) as connected:
        yield connected
