"""Measure one point: latency, processor time and peak memory of some edits."""

from __future__ import annotations

import asyncio
import io
import itertools
import math
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.process_memory import RESET_PEAK, status
from imgedit import EditClient
from imgedit.installation import ROOT
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, demo_environment_of

MAX_PIXELS = 26_000_000
IDLE = "qwen_edit"
"""A service that runs, since the sidecar waits for it, and has nothing to do here; it is not counted."""

SAMPLE = ROOT / "demo" / "samples" / "in-the-gym.png"


@dataclass(frozen=True)
class Load:
    """The edits of a point.

    megapixels, steps and n: of each edit. clients: edits at once. per_image: edits of one picture before the next.
    """

    megapixels: float = 0.25
    steps: int = 10
    n: int = 1
    clients: int = 1
    per_image: int = 1


@dataclass(frozen=True)
class Point:
    """The figures of an edit at one place of an axis.

    latencies: seconds of each edit. cpu_seconds: of all processes, by edit. peak_bytes: the sum of the largest resident
    sizes of all processes.
    """

    x: float
    latencies: list[float]
    cpu_seconds: float
    peak_bytes: int


@dataclass
class Bench:
    """A running stack and its client."""

    stack: Stack
    client: EditClient
    _number: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    async def point(self, x: float, load: Load, edits: int) -> Point:
        """Run that many edits after one that warms up."""
        await self._edit(load, picture(load.megapixels, next(self._number)))
        self._reset_peaks()
        before = self._cpu_seconds()
        pictures = [picture(load.megapixels, next(self._number)) for _ in range(math.ceil(edits / load.per_image))]
        waiting = iter([pictures[place // load.per_image] for place in range(edits)])
        latencies: list[float] = []

        async def caller() -> None:
            for image in waiting:
                latencies.append(await self._edit(load, image))  # noqa: PERF401  # several callers fill it

        async with asyncio.TaskGroup() as group:
            for _ in range(load.clients):
                group.create_task(caller())
        peak = sum(status(part.pid).get("VmHWM", 0) for part in self._parts())
        return Point(x, latencies, (self._cpu_seconds() - before) / edits, peak)

    async def _edit(self, load: Load, image: bytes) -> float:
        began = time.perf_counter()
        await self.client.edit(
            image,
            experiment="ben2_flux_fill",
            feature="inpainting",
            prompt="a beach",
            steps=load.steps,
            n=load.n,
            seed=next(self._number),
            timeout=1800,
        )
        return time.perf_counter() - began

    def _reset_peaks(self) -> None:
        for part in self._parts():
            with suppress(OSError):  # it has ended, or the peak of its whole life has to do
                Path(f"/proc/{part.pid}/clear_refs").write_text(RESET_PEAK)

    def _parts(self) -> Iterator[psutil.Process]:
        for name, popen in self.stack.processes.items():
            if name != IDLE:
                process = psutil.Process(popen.pid)
                yield from (process, *process.children(recursive=True))

    def _cpu_seconds(self) -> float:
        return sum(times.user + times.system for times in (part.cpu_times() for part in self._parts()))


@contextmanager
def running(replicas: int) -> Iterator[Stack]:
    """The stack with the demo's checkpoints and this many replicas of fill."""
    ports = Ports.free(replicas={"fill": replicas})
    environment = demo_environment_of(ports) | {
        "IMGEDIT_ORCHESTRATOR_MAX_PIXELS": str(MAX_PIXELS),
        "OMP_NUM_THREADS": "1",
    }
    with tempfile.TemporaryDirectory() as logs:
        stack = Stack(ports, Path(logs), environment)
        try:
            stack.start()
            list(stack.wait_until_serving(timeout=600))
            yield stack
        finally:
            stack.stop()


def picture(megapixels: float, number: int) -> bytes:
    """A JPEG of a person, unlike those of all other numbers."""
    side = math.isqrt(int(megapixels * 1e6))
    with Image.open(SAMPLE) as sample:
        pixels = np.array(sample.convert("RGB").resize((side, side)))
    pixels[:8, :8] = number % 256, number // 256 % 256, 7
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=92)
    return file.getvalue()
