"""The engine and the images, shared by all tests in this folder."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.docker import base_images, build
from deploy.docker.base_images import Bases
from deploy.docker.engine import Engine, find
from tests.images.running import FACTS

FOLDER = build.FOLDER
TAG = "test"


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine named by IMGEDIT_TEST_ENGINE, or the first that answers."""
    return find(FOLDER, os.environ.get("IMGEDIT_TEST_ENGINE"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print sizes, times and skipped parts."""
    if FACTS:
        terminalreporter.section("images")
        terminalreporter.write_line("\n".join(FACTS))


@pytest.fixture(scope="session")
def running_engine(engine: Engine) -> Engine:
    if not engine.can_run:
        pytest.skip(f"{engine.program} builds images and runs none; install podman")
    return engine


@pytest.fixture(scope="session")
def bases(engine: Engine) -> Bases:
    found = base_images.provide(engine, FOLDER / "bases")
    FACTS.append(f"engine {engine.program}; base images {'made from Debian packages' if found.is_made else 'pulled'}")
    return found


@pytest.fixture(scope="session")
def image(engine: Engine, bases: Bases) -> Callable[[str], str]:
    """Build a target once and return its name.

    IMGEDIT_TEST_TORCH_INDEX names the index of torch.
    """
    built: dict[str, str] = {}

    def of(target: str) -> str:
        if target not in built:
            index = os.environ.get("IMGEDIT_TEST_TORCH_INDEX", "")
            began = time.monotonic()
            built[target] = build.build(engine, bases, target, TAG, torch_index=index)
            FACTS.append(f"{target}: built in {time.monotonic() - began:.0f} s, cached layers included")
        return built[target]

    return of


@pytest.fixture(scope="session")
def envoy(engine: Engine, bases: Bases) -> Callable[[str], str]:
    """Envoy's image, or one with the same Envoy."""
    return lambda wanted: base_images.provide_envoy(engine, wanted, bases, FOLDER / "bases")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that user 10001 may write to."""
    folder = tmp_path_factory.mktemp("work")
    folder.chmod(0o777)
    return folder
