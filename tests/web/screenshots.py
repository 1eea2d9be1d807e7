"""`python -m tests.web.screenshots`: redraw docs/images/studio-*.png.

Starts the services and the page with the tests' checkpoints; --models names others, --url a running page.
"""

from __future__ import annotations

import argparse
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from imgedit.local.ports import Ports
from imgedit.local.supervisor import DEMO_MODELS, Stack, environment_of
from tests.demo_stack import ROOT, SAMPLES
from tests.web.conftest import LAUNCH
from tests.web.studio_page import Studio

IMAGES = ROOT / "docs" / "images"
WORK_PIXELS = 512 * 512
COLOURS = 200
QWEN = "BEN2 + Qwen-Image"


def main() -> None:
    """Take all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=Path, default=DEMO_MODELS)
    parser.add_argument("--url", help="a page that runs already")
    arguments = parser.parse_args()
    IMAGES.mkdir(parents=True, exist_ok=True)
    with page_at(arguments.url, arguments.models) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=LAUNCH)
        for take in (inpainting, margins, appearance, batch, english, narrow):
            take(browser, url)
        browser.close()


@contextmanager
def page_at(url: str | None, models: Path) -> Iterator[str]:
    """The page at the given URL, or a new one."""
    if url:
        yield url
        return
    ports = Ports.free(studio=True)
    environment = environment_of(ports, models, max_work_pixels=WORK_PIXELS)
    stack = Stack(ports, Path(tempfile.mkdtemp()), {**environment, "IMGEDIT_STUDIO_SAMPLES": str(SAMPLES)})
    try:
        stack.start()
        list(stack.wait_until_serving())
        yield f"http://127.0.0.1:{ports.studio}"
    finally:
        stack.stop()


def opened(browser: Browser, url: str, width: int = 1320, height: int = 900) -> Studio:
    """A separate session."""
    studio = Studio(browser.new_page(viewport={"width": width, "height": height}, locale="ko-KR"), url)
    studio.open()
    return studio


def keep(page: Page, name: str, *, wait: int = 900) -> None:
    """The screen after so many milliseconds, as a small file."""
    page.wait_for_timeout(wait)
    with Image.open(io.BytesIO(page.screenshot())) as image:
        image.convert("RGB").quantize(COLOURS).save(IMAGES / f"studio-{name}.png", optimize=True)


def inpainting(browser: Browser, url: str) -> None:
    """The form, the brush, and the result with its parameters."""
    studio = opened(browser, url)
    studio.sample("in-the-gym")
    studio.prompt("배경을 야외 공원으로 변경")
    keep(studio.page, "start")
    studio.unfold("마스크")
    studio.choose("브러시")
    canvas = studio.page.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    studio.page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.3)
    studio.page.mouse.down()
    studio.page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.2, steps=12)
    studio.page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.25, steps=12)
    studio.page.mouse.up()
    keep(studio.page, "brush")
    studio.choose("자동 (BEN2)")
    studio.unfold("마스크")
    studio.seed(7)
    studio.edit()
    studio.page.locator(".st-key-header").scroll_into_view_if_needed()
    keep(studio.page, "result")
    studio.page.get_by_role("tab", name="나란히").click()
    studio.used("시드")
    studio.page.get_by_text("모델에 전달된 프롬프트").scroll_into_view_if_needed()
    keep(studio.page, "used")
    studio.page.close()


def margins(browser: Browser, url: str) -> None:
    """Margins drawn on the picture."""
    studio = opened(browser, url)
    studio.choose("이미지 확장")
    studio.sample("wide-in-the-snow")
    studio.press("왼쪽에 운동 기구 추가")
    studio.choose("직접 지정")
    for side, margin in (("왼쪽 (px)", 128), ("아래쪽 (px)", 48)):
        field = studio.page.get_by_role("spinbutton", name=side)
        field.fill(str(margin))
        field.press("Enter")
        studio.settle()
    studio.page.get_by_text("확장 뒤 크기").first.scroll_into_view_if_needed()
    keep(studio.page, "margins")
    studio.page.close()


def appearance(browser: Browser, url: str) -> None:
    """While it works."""
    studio = opened(browser, url)
    studio.choose(QWEN)
    studio.sample("in-the-gym")
    studio.press("운동복의 상의를 파란색에서 빨간색으로 변경")
    for name in ("Steps", "Strength"):
        slider = studio.page.get_by_role("slider", name=name)
        slider.focus()
        slider.press("End")
    studio.settle()
    studio.page.locator(".st-key-header").scroll_into_view_if_needed()
    studio.start()
    studio.page.get_by_role("img", name="미리보기").wait_for(timeout=90_000)
    keep(studio.page, "progress", wait=100)
    studio.wait_for_result()
    studio.press("다른 결과 4장 더 만들기")
    studio.page.get_by_role("group", name="함께 만든 결과").wait_for(timeout=900_000)
    studio.page.get_by_role("group", name="작업 기록").scroll_into_view_if_needed()
    keep(studio.page, "seeds")
    studio.page.close()


def batch(browser: Browser, url: str) -> None:
    """A batch that is done."""
    studio = opened(browser, url)
    studio.upload(*sorted(SAMPLES.glob("*.png"))[:5])
    studio.prompt("a park")
    studio.edit()
    keep(studio.page, "batch")
    studio.page.close()


def english(browser: Browser, url: str) -> None:
    """The other language."""
    studio = opened(browser, url)
    studio.sample("blue-in-the-park")
    studio.choose("English")
    studio.page.get_by_role("button", name="a bright modern gym", exact=True).click()
    studio.settle()
    studio.edit()
    studio.page.locator(".st-key-header").scroll_into_view_if_needed()
    keep(studio.page, "english")
    studio.page.close()


def narrow(browser: Browser, url: str) -> None:
    """A telephone."""
    studio = opened(browser, url, 390, 780)
    studio.sample("blue-in-the-park")
    studio.prompt("배경을 해변으로 변경")
    studio.edit()
    keep(studio.page, "narrow")
    studio.page.close()


if __name__ == "__main__":
    main()
