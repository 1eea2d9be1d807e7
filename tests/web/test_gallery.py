"""The gallery: the results of earlier visits, and a disk that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, expect

from tests.demo_stack import DemoStack
from tests.web.studio_page import Studio

pytestmark = pytest.mark.timeout(400)

PROMPT = "배경을 현대적인 체육관으로 변경"


def tiles(studio: Studio) -> Locator:
    return studio.page.get_by_role("group", name="보관함").get_by_role("button")


@contextmanager
def broken_disk(stack: DemoStack) -> Iterator[None]:
    """A file stands where the folder was."""
    folder, aside = stack.logs / "gallery", stack.logs / "gallery-aside"
    folder.rename(aside)
    folder.write_bytes(b"")
    try:
        yield
    finally:
        folder.unlink()
        aside.rename(folder)


def test_a_result_is_in_the_gallery_of_the_next_visit_until_it_is_deleted(
    studio: Studio, context: BrowserContext, browser: Browser, demo_stack: DemoStack
) -> None:
    studio.sample("in-the-gym")
    studio.prompt(PROMPT)
    studio.seed(5)
    studio.edit()
    expect(tiles(studio)).to_have_count(1)
    result = studio.downloaded()
    studio.page.close()

    later = Studio(context.new_page(), demo_stack.url)  # another tab: another visit of the same browser
    later.open()
    expect(tiles(later)).to_have_count(1)
    tiles(later).click()
    expect(later.page.locator(".st-key-card-result")).to_be_visible()
    later.settle()
    assert later.downloaded() == result
    later.press("별표")
    expect(tiles(later)).to_contain_text(f"★ 영역 채우기 · {PROMPT}")
    later.press("이 설정 불러오기")
    expect(later.page.get_by_label("프롬프트", exact=True)).to_have_value(PROMPT)
    expect(later.page.get_by_role("spinbutton", name="시드 값")).to_have_value("5")
    expect(later.page.locator(".st-key-input-now")).to_contain_text("in-the-gym")
    tiles(later).click()
    later.settle()
    later.press("이 결과에서 이어서 편집")
    expect(later.page.locator(".st-key-input-now")).to_contain_text("in-the-gym-inpainting-5.png")
    later.settle()

    other = Studio(browser.new_context(locale="ko-KR").new_page(), demo_stack.url)
    other.open()
    expect(tiles(other)).to_have_count(0)
    other.page.context.close()

    with broken_disk(demo_stack):
        later.edit()
        expect(later.page.get_by_text("결과를 보관함에 저장하지 못했습니다")).to_be_visible()
        expect(later.page.locator(".compare")).to_be_visible()
        expect(later.page.get_by_text("지금은 보관함을 쓸 수 없습니다.").first).to_be_visible()
        assert later.downloaded()
    tiles_again = Studio(context.new_page(), demo_stack.url)
    tiles_again.open()
    tiles(tiles_again).click()
    tiles_again.settle()
    tiles_again.press("삭제")
    tiles_again.press("결과 삭제")
    expect(tiles(tiles_again)).to_have_count(0)
    for page in (later, tiles_again):
        page.check_manners()
