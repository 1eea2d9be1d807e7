"""Many pictures at once."""

from __future__ import annotations

import io
import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.demo_stack import SAMPLES
from tests.web.studio_page import EDIT_SECONDS, Studio, payload, picture, png

pytestmark = pytest.mark.timeout(400)

FILES = [SAMPLES / name for name in ("in-the-gym.png", "gym-shirt.png", "blue-in-the-park.png")]


def test_several_pictures_give_a_table_and_one_zip(studio: Studio) -> None:
    studio.upload(*FILES, payload("broken.png", b"\x89PNG\r\n\x1a\nbroken"))
    expect(studio.page.get_by_text("broken.png").last).to_be_visible()
    expect(studio.page.get_by_text("3장을 한꺼번에 편집합니다.")).to_be_visible()
    studio.prompt("a bright modern gym")
    expect(studio.edit_button).to_have_text("auto_fix_high이미지 3장 편집")
    studio.edit()
    expect(studio.page.get_by_text("3/3장 끝남")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    with zipfile.ZipFile(io.BytesIO(studio.downloaded("모두 다운로드 (ZIP)"))) as zipped:
        names = zipped.namelist()
        assert [name.split("-inpainting-")[0] for name in names] == [path.stem for path in FILES]
        for name, path in zip(names, FILES, strict=True):
            assert picture(zipped.read(name)).size == picture(path).size
    rows = studio.page.locator('[class*="st-key-batch-row-"]')
    expect(rows).to_have_count(3)
    expect(rows.nth(1)).to_contain_text("gym-shirt.png")
    expect(rows.nth(1).get_by_role("img", name="편집 결과")).to_be_visible()
    seed = rows.nth(1).inner_text().partition("시드 ")[2].split()[0]
    rows.nth(1).get_by_role("button", name="다시 시도").click()
    another = re.compile(rf"시드 (?!{seed}\b)\d+")
    expect(rows.nth(1)).to_contain_text(another, timeout=EDIT_SECONDS * 1000)
    expect(rows.nth(1)).to_contain_text("gym-shirt.png")
    expect(rows).to_have_count(3)


def test_a_batch_can_be_cancelled_and_keeps_what_is_done(studio: Studio) -> None:
    large = png(picture(FILES[0]).resize((640, 640)))
    studio.upload(*[payload(f"large-{n}.png", large) for n in range(8)])
    studio.prompt("a bright modern gym")
    studio.start()
    expect(studio.page.get_by_text("1/8장 끝남")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    studio.press("취소")
    studio.wait_for_result()
    with zipfile.ZipFile(io.BytesIO(studio.downloaded("모두 다운로드 (ZIP)"))) as zipped:
        assert 1 <= len(zipped.namelist()) < 8


def test_one_picture_that_fails_does_not_stop_the_others(studio: Studio) -> None:
    """A mask that fits the first alone."""
    studio.upload(FILES[0], SAMPLES / "wide-in-the-snow.png")
    studio.prompt("a gym")
    studio.unfold("마스크")
    studio.choose("파일")
    field = studio.page.locator('[class*="-mask-file"] input[type=file]')
    size = picture(FILES[0]).size
    assert size != picture(SAMPLES / "wide-in-the-snow.png").size
    mask = Image.new("L", size)
    mask.paste(255, (0, 0, 60, 60))
    field.set_input_files([payload("mask.png", png(mask))])
    studio.page.wait_for_timeout(500)
    studio.settle()
    studio.edit()
    expect(studio.page.get_by_text("2/2장 끝남 · 1장 실패")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    with zipfile.ZipFile(io.BytesIO(studio.downloaded("모두 다운로드 (ZIP)"))) as zipped:
        assert len(zipped.namelist()) == 1
    expect(studio.page.get_by_role("button", name="끝나지 않은 1장 다시 시도")).to_be_visible()
