"""The page as a person meets it: what can be pressed, filled in and read."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from PIL import Image
from playwright.sync_api import Error, Locator, Page, expect

EDIT_SECONDS = 200
"""Longest wait for an edit by the small checkpoints, on a machine that does other things too."""

RESULT = '[class*="st-key-arrive-"]'
"""What marks the result on view; its class holds the result's number in the visit."""


class Studio:
    """One open page."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.faults: list[str] = []
        self.hosts: set[str] = set()
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def open(self) -> None:
        self.page.goto(self.url)
        self.edit_button.wait_for()
        self.page.wait_for_function("() => sessionStorage.getItem('imgedit-visit')")  # reported, page redrawn
        self.settle()

    def check_manners(self) -> None:
        assert not self.faults, self.faults
        assert self.hosts <= {urlsplit(self.url).netloc, ""}

    @property
    def edit_button(self) -> Locator:
        return self.page.locator(".st-key-edit button")

    def settle(self) -> None:
        """Wait until Streamlit has finished drawing.

        It must still be idle a moment later.
        """
        self.page.wait_for_function(
            """() => {
                const rests = document.querySelector('[data-testid=stApp]').dataset.testScriptState === 'notRunning';
                window.restsSince = rests ? window.restsSince ?? performance.now() : undefined;
                return rests && performance.now() - window.restsSince > 150;
            }"""
        )

    def choose(self, name: str) -> None:
        """An experiment, a feature, or another choice of a row."""
        radio = self.page.get_by_role("radio", name=name, exact=True)
        for _ in range(3):
            radio.click()
            self.settle()
            if radio.is_checked():  # a press that meets a rerun is lost
                return
        raise AssertionError(f"{name}: three presses did not choose it")

    def sample(self, name: str = "in-the-gym") -> None:
        self.page.get_by_role("button", name=name).click()
        self.page.get_by_role("button", name="이미지 지우기").wait_for()
        self.settle()

    def upload(self, *files: Path | dict[str, Any]) -> None:
        """Files, or `payload`s, into the uploader of pictures."""
        given = [file if isinstance(file, dict) else payload(file.name, file.read_bytes()) for file in files]
        self.page.locator('[class*="st-key-upload-"] input[type=file]').set_input_files(given)
        self.page.wait_for_timeout(300)
        self.settle()

    def prompt(self, text: str) -> None:
        self.page.get_by_label("프롬프트", exact=True).fill(text)

    def unfold(self, name: str) -> None:
        summary = self.page.locator("summary", has_text=name)
        for _ in range(3):
            summary.click()
            self.page.wait_for_timeout(250)
            self.settle()
            if summary.evaluate("summary => summary.parentElement.open"):  # a press that meets a rerun is lost
                return
        raise AssertionError(f"{name}: three presses did not unfold it")

    def seed(self, value: int) -> None:
        self.choose("고정")
        box = self.page.get_by_role("spinbutton", name="시드 값")
        box.fill(str(value))
        box.press("Enter")
        self.settle()

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def example(self, text: str) -> None:
        """Take an example of the feature as the prompt."""
        self.press(text)
        expect(self.page.get_by_label("프롬프트", exact=True)).to_have_value(text)
        self.settle()

    def edit(self) -> None:
        """Press the button and wait for a result that was not there before."""
        before = self._results()
        self.start()
        expect(self.page.locator(RESULT)).not_to_have_count(0, timeout=EDIT_SECONDS * 1000)
        self.page.wait_for_function(
            "([mark, before]) => Array.from(document.querySelectorAll(mark)).some(e => !before.includes(e.className))",
            arg=[RESULT, before],
            timeout=EDIT_SECONDS * 1000,
        )
        self.wait_for_result()

    def _results(self) -> list[str]:
        return self.page.locator(RESULT).evaluate_all("marks => marks.map(mark => mark.className)")

    def start(self) -> None:
        self.edit_button.click()

    def wait_for_result(self) -> None:
        expect(self.page.locator(".st-key-card-result")).to_be_visible(timeout=EDIT_SECONDS * 1000)
        expect(self.page.locator(".st-key-progress")).to_have_count(0, timeout=EDIT_SECONDS * 1000)
        self.settle()

    def downloaded(self, name: str = "다운로드") -> bytes:
        self.settle()  # a press that meets a rerun is lost
        for _ in range(3):
            try:
                with self.page.expect_download(timeout=30_000) as download:
                    self.press(name)
            except Error:
                continue
            return Path(download.value.path()).read_bytes()
        raise AssertionError(f"{name}: three presses brought no file")

    def downloaded_image(self, name: str = "다운로드") -> Image.Image:
        return picture(self.downloaded(name))

    def used(self, name: str) -> str:
        """A value of the table of what was used."""
        if not self.page.get_by_role("cell", name=name, exact=True).is_visible():
            self.unfold("적용된 설정")
        return self.page.get_by_role("row", name=name).get_by_role("cell").nth(1).inner_text()


def picture(source: Path | bytes) -> Image.Image:
    """A file, or its bytes, decoded; nothing stays open."""
    with Image.open(source if isinstance(source, Path) else io.BytesIO(source)) as image:
        return image.copy()


def payload(name: str, data: bytes, kind: str = "image/png") -> dict[str, Any]:
    """A file to upload that is on no disk."""
    return {"name": name, "mimeType": kind, "buffer": data}


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
