"""Debian's Chromium, and the page of the demo's stack in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, expect, sync_playwright

from tests.demo_stack import DemoStack
from tests.web.studio_page import Studio

expect.set_options(timeout=30_000)
"""Other tests share the cores; what is waited for mostly comes within a second."""

LAUNCH = ["--no-sandbox", "--disable-dev-shm-usage"]
"""Chromium's own sandbox needs rights that a container does not give; it meets this page alone."""


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
    """A separate session."""
    opened = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="ko-KR", accept_downloads=True)
    opened.set_default_timeout(100_000)  # other tests share the cores
    yield opened
    opened.close()


@pytest.fixture
def studio(context: BrowserContext, demo_stack: DemoStack) -> Iterator[Studio]:
    """The opened page; it must log no error and contact no other machine."""
    page = Studio(context.new_page(), demo_stack.url)
    page.open()
    yield page
    page.check_manners()
