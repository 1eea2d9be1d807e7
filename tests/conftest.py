"""What every test needs before torch is imported."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Tests share the cores with the servers they start: torch's threads must not spin while they wait.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(scope="session")
def models() -> Path:
    """The tiny checkpoints; made once and kept, since they do not change."""
    folder = Path("build/models-tiny")
    subprocess.run([sys.executable, "-m", "demo.tiny", "--out", str(folder)], check=True)
    return folder


def pytest_configure() -> None:
    """A shell that starts the tests in the background has these ignored, and every process under test inherits it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """In CI everything that a test needs is installed: a skipped test fails the run."""
    if os.environ.get("CI") and terminalreporter.stats.get("skipped"):
        terminalreporter.write_line("skipped tests fail the run in CI", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """See above."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("CI") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
