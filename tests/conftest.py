"""Setup before torch is imported, and grouping of tests for parallel workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import demo_stack as demo_stacks
from tests.demo_stack import DemoStack

# Tests share the cores with the servers they start: torch's threads must not spin while they wait, and tiny tensors
# gain nothing from a second thread.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# `auto` takes bfloat16 where the processor multiplies in it; masks, and what is painted through them, would differ.
os.environ.setdefault("IMGEDIT_SEGMENTATION_PRECISION", "fp32")
os.environ["HF_HUB_OFFLINE"] = "1"
# A console takes its width from here when it is made, that is before a test can say how wide it is.
os.environ.pop("COLUMNS", None)
os.environ.pop("LINES", None)

collect_ignore = ["images"]
"""`make test-images` names the folder: its tests build images for half an hour, and need a container engine."""

GROUPS = {
    "tests/e2e/test_demo_quality": "demo stack",
    "tests/e2e/test_faults_in_mid_edit.py": "mended stack",
    "tests/e2e/test_replicas.py": "replicas",
    "tests/e2e/": "tiny stack",
    "tests/web/test_up.py": "up",
    "tests/web/": "demo stack",
}
"""What a path begins with, and the group that its tests belong to: those of one group run in one worker, since they
share what a session's fixture has started. The first that fits counts; any other file is a group by itself."""

FIRST = (
    "tiny stack",
    "demo stack",
    "mended stack",
    "replicas",
    "tests/deploy/test_images.py",
    "tests/unit/segmentation/test_ben2",
)
"""Groups that take long: begun last, they would leave the other worker idle at the end."""


@pytest.fixture(scope="session")
def models() -> Path:
    """The tiny checkpoints; made once and kept, since they do not change."""
    folder = Path("build/models-tiny")
    subprocess.run([sys.executable, "-m", "demo.tiny", "--out", str(folder)], check=True)
    return folder


@pytest.fixture(scope="session")
def demo_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoStack]:
    """The services with the demo's checkpoints, and the page."""
    with demo_stacks.serving(tmp_path_factory.mktemp("demo-logs")) as running:
        yield running


def pytest_configure() -> None:
    """Restore signals that a shell ignores for background jobs and their children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups that take longest."""
    items.sort(key=lambda item: rank(group_of(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give workers whole groups, in the order of the collection."""
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    return Groups(config, log)


def group_of(nodeid: str) -> str:
    """The group of a test."""
    file = nodeid.partition("::")[0]
    return next((group for beginning, group in GROUPS.items() if file.startswith(beginning)), file)


def rank(group: str) -> int:
    """The place of a group in `FIRST`."""
    return next((place for place, beginning in enumerate(FIRST) if group.startswith(beginning)), len(FIRST))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI everything that a test needs is installed: a skipped test fails the run."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests fail the run in CI", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """See above."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
