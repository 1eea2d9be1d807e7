"""The services with the demo's checkpoints, for as long as something is measured."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from imgedit import SyncEditClient
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, demo_environment_of


@contextmanager
def running(models: Path) -> Iterator[tuple[SyncEditClient, str]]:
    """The services with these checkpoints: a client, and the PromptService's address."""
    ports = Ports.free()
    with tempfile.TemporaryDirectory() as logs:
        stack = Stack(ports, Path(logs), demo_environment_of(ports, models))
        try:
            stack.start()
            list(stack.wait_until_serving(timeout=300))
            with SyncEditClient(ports.address("orchestrator")) as client:
                yield client, ports.address("qwen_edit")
        finally:
            stack.stop()
