"""One stack with the page for the session, and Debian's Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from imgedit.ports import Ports
from imgedit.stack import Stack, environment_of
from tests.web.studio_page import Studio

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "demo" / "samples"
DEMO_MODELS = ROOT / "demo" / "models"
HAS_DEMO_MODELS = all(
    (DEMO_MODELS / name).is_dir()
    for name in ("BEN2", "FLUX.1-Fill-dev/transformer", "Qwen-Image-Edit-2509/transformer")
)
WORK_PIXELS = 448 * 448

LAUNCH = ["--no-sandbox", "--disable-dev-shm-usage"]
"""Chromium's own sandbox needs rights that a container does not give; it meets this page alone."""


@dataclass(frozen=True)
class RunningPage:
    """Where the page and the services listen."""

    ports: Ports
    url: str
    logs: Path

    @property
    def target(self) -> str:
        return self.ports.address("orchestrator")


@pytest.fixture(scope="session")
def running(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPage]:
    """The services with the demo's checkpoints, where they are there, and the page with the demo's samples."""
    ports = Ports.free(studio=True)
    shown = DEMO_MODELS if HAS_DEMO_MODELS else models
    environment = environment_of(ports, shown, max_work_pixels=WORK_PIXELS)
    logs = tmp_path_factory.mktemp("web-logs")
    stack = Stack(ports, logs, {**environment, "IMGEDIT_STUDIO_SAMPLES": str(SAMPLES)})
    try:
        stack.start()
        list(stack.wait_until_serving(timeout=180))
        yield RunningPage(ports, f"http://127.0.0.1:{ports.studio}", logs)
    finally:
        stack.stop()


@pytest.fixture(scope="module")  # its event loop must be gone before another module's asynchronous tests
def browser() -> Iterator[Browser]:
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if chromium is None:
        pytest.skip("chromium is not installed: make system-deps")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=LAUNCH)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A visit of its own."""
    opened = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="ko-KR", accept_downloads=True)
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


@pytest.fixture
def studio(context: BrowserContext, running: RunningPage) -> Iterator[Studio]:
    """The page, opened; it must make no error of its own, and ask no other machine for anything."""
    page = Studio(context.new_page(), running.url)
    page.open()
    yield page
    page.check_manners()
