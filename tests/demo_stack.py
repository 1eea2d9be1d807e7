"""The services with the demo's trained checkpoints, and the page in front of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imgedit.local.ports import Ports
from imgedit.local.supervisor import DEMO_MODELS, Stack, demo_environment_of

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "demo" / "samples"
WORK_PIXELS = 448 * 448
"""So that an edit of a large picture lasts long enough to be watched and cancelled at the page."""


@dataclass(frozen=True)
class DemoStack:
    """Where the page and the services listen."""

    ports: Ports
    logs: Path

    @property
    def url(self) -> str:
        """The page's address."""
        return f"http://127.0.0.1:{self.ports.studio}"

    @property
    def target(self) -> str:
        """The orchestrator's address."""
        return self.ports.address("orchestrator")


@contextmanager
def serving(logs: Path) -> Iterator[DemoStack]:
    """Started and serving, until the block ends."""
    ports = Ports.free(studio=True)
    environment = demo_environment_of(ports, DEMO_MODELS, max_work_pixels=WORK_PIXELS)
    environment["IMGEDIT_STUDIO_SAMPLES"] = str(SAMPLES)
    environment["IMGEDIT_STUDIO_GALLERY"] = str(logs / "gallery")
    stack = Stack(ports, logs, environment)
    try:
        stack.start()
        list(stack.wait_until_serving(timeout=180))
        yield DemoStack(ports, logs)
    finally:
        stack.stop()
