"""Two replicas of fill behind the sidecar, the edge in front.

One replica goes, and no edit is lost.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from imgedit import SyncEditClient
from imgedit.local.ports import Ports
from imgedit.local.supervisor import Stack, environment_of, is_serving
from imgedit.v1 import edit_pb2
from tests.e2e.conftest import WORK_PIXELS
from tests.support.waiting import wait_for

CALLERS = 3


@pytest.fixture(scope="module")
def replicated(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A separate stack whose second fill replica can be lost and restored."""
    ports = Ports.free(replicas={"fill": 2}, gateway=True)
    environment = environment_of(ports, models, max_work_pixels=WORK_PIXELS)
    environment["IMGEDIT_FILL_MAX_BATCH"] = "1"  # bytes are compared, and a batch rounds otherwise
    stack = Stack(ports, tmp_path_factory.mktemp("logs"), environment)
    try:
        stack.start()
        list(stack.wait_until_serving(timeout=240))
        yield stack
    finally:
        for popen in stack.processes.values():
            if popen.poll() is None:
                popen.send_signal(signal.SIGCONT)
        stack.stop()


class Load:
    """Callers that edit through the edge, one image after another, until stopped."""

    def __init__(self, stack: Stack, photo: Path) -> None:
        self.answers: list[edit_pb2.EditResponse] = []
        self.errors: list[Exception] = []
        self._target, self._photo = f"127.0.0.1:{stack.ports.gateway}", photo
        self._ended = threading.Event()
        self._pool = ThreadPoolExecutor(CALLERS)

    def __enter__(self) -> Load:
        self._futures = [self._pool.submit(self._call) for _ in range(CALLERS)]
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for future in self._futures:
            future.result()
        self._pool.shutdown()

    def _call(self) -> None:
        # No client retries: the edge and the sidecar must recover by themselves.
        with SyncEditClient(self._target, retries=0) as client:
            while not self._ended.is_set():
                try:
                    answer = client.edit(
                        self._photo, experiment="ben2_flux_fill", prompt="a gym", steps=10, seed=7, timeout=120
                    )
                    self.answers.append(answer)
                except Exception as error:  # noqa: BLE001  # all of them are counted
                    self.errors.append(error)


def is_computing(stack: Stack, name: str) -> bool:
    """Whether this replica has work in hand: it uses its processor."""
    return psutil.Process(stack.processes[name].pid).cpu_percent(0.2) > 20


def lose(stack: Stack, photo: Path, strike: Callable[[], None]) -> Load:
    """Load the stack, hit one replica at work, and continue for a while."""
    with Load(stack, photo) as load:
        wait_for(lambda: len(load.answers) >= CALLERS, 120)
        wait_for(lambda: is_computing(stack, "fill-2"), 60)
        strike()
        before = len(load.answers)
        wait_for(lambda: len(load.answers) >= before + 2 * CALLERS or bool(load.errors), 180)
    return load


def bring_back(stack: Stack) -> None:
    """Let the supervisor start what ended, and wait until it serves."""
    wait_for(lambda: any("started again" in message for message in stack.tend()), 60)
    wait_for(lambda: is_serving(stack.ports.address("fill-2")), 120)


def test_both_replicas_work(replicated: Stack, photo: Path) -> None:
    with Load(replicated, photo) as load:
        wait_for(lambda: len(load.answers) >= 2 * CALLERS, 180)
    assert not load.errors
    for name in ("fill", "fill-2"):
        assert psutil.Process(replicated.processes[name].pid).cpu_times().user > 1
    assert len({answer.output_image for answer in load.answers}) == 1  # whichever replica painted it


@pytest.mark.timeout(600)
def test_no_edit_is_lost_when_a_replica_is_killed(replicated: Stack, photo: Path) -> None:
    load = lose(replicated, photo, lambda: replicated.processes["fill-2"].kill())
    assert not load.errors
    assert len({answer.output_image for answer in load.answers}) == 1  # also of the edit that was run again
    bring_back(replicated)


@pytest.mark.timeout(600)
def test_no_edit_is_lost_when_a_replica_is_told_to_end(replicated: Stack, photo: Path) -> None:
    load = lose(replicated, photo, lambda: replicated.processes["fill-2"].send_signal(signal.SIGTERM))
    assert not load.errors
    bring_back(replicated)


@pytest.mark.timeout(600)
def test_no_edit_is_lost_when_a_replica_hangs(replicated: Stack, photo: Path) -> None:
    hung = replicated.processes["fill-2"]
    try:
        load = lose(replicated, photo, lambda: hung.send_signal(signal.SIGSTOP))
    finally:
        hung.send_signal(signal.SIGCONT)
    assert not load.errors
