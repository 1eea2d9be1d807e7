"""A refresh loses no input and no result, and keyboard shortcuts work as expected."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image
from playwright.sync_api import Dialog, expect

from tests.demo_stack import SAMPLES
from tests.web.studio_page import EDIT_SECONDS, Studio, payload, picture, png

pytestmark = pytest.mark.timeout(400)

PROMPT = "배경을 현대적인 체육관으로 변경"


def refresh(studio: Studio) -> None:
    studio.page.reload()
    studio.edit_button.wait_for()
    expect(studio.page.get_by_label("프롬프트", exact=True)).to_have_value(PROMPT)
    studio.settle()


def leave_by(answer: str, studio: Studio) -> list[str]:
    """The page's question before it is left, answered."""
    asked: list[str] = []

    def tell(dialog: Dialog) -> None:
        asked.append(dialog.type)
        getattr(dialog, answer)()

    studio.page.on("dialog", tell)
    return asked


def test_a_refresh_keeps_picture_prompt_settings_and_results(studio: Studio) -> None:
    studio.upload(SAMPLES / "in-the-gym.png")
    studio.prompt(PROMPT)
    slider = studio.page.get_by_role("slider", name="Steps")
    slider.focus()
    slider.press("ArrowLeft")
    studio.settle()
    studio.edit()
    refresh(studio)
    expect(slider).to_have_value("27")
    expect(studio.page.locator(".st-key-card-result")).to_be_visible()
    expect(studio.page.locator(".st-key-input-now")).to_contain_text("in-the-gym.png")
    expect(studio.page.get_by_role("group", name="작업 기록").get_by_role("button")).to_have_count(1)
    studio.edit()
    expect(studio.page.get_by_role("group", name="작업 기록").get_by_role("button")).to_have_count(2)


def test_a_refresh_in_mid_edit_asks_first_and_goes_on_watching(studio: Studio) -> None:
    studio.choose("BEN2 + Qwen-Image")
    large = picture(SAMPLES / "in-the-gym.png").resize((1024, 1024))
    studio.upload(payload("large.png", png(large)))
    studio.prompt(PROMPT)
    asked = leave_by("accept", studio)
    studio.start()
    studio.page.locator(".st-key-progress").wait_for()
    studio.page.reload()
    assert asked == ["beforeunload"]
    expect(studio.page.locator(".st-key-progress")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    studio.press("취소")
    expect(studio.page.get_by_text("편집을 취소했습니다.")).to_be_visible(timeout=EDIT_SECONDS * 1000)


def test_the_settings_of_a_result_can_be_entered_again(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.prompt(PROMPT)
    studio.edit()
    studio.upload(payload("other.png", png(Image.new("RGB", (64, 48), "teal"))))
    studio.prompt("다른 것")
    expect(studio.page.locator(".st-key-card-result")).to_have_count(0)  # the new input is in sight instead
    studio.page.get_by_role("group", name="작업 기록").get_by_role("button").click()
    studio.settle()
    seed = studio.used("시드")
    studio.press("이 설정 불러오기")
    studio.settle()
    expect(studio.page.get_by_label("프롬프트", exact=True)).to_have_value(PROMPT)
    expect(studio.page.get_by_role("spinbutton", name="시드 값")).to_have_value(seed)
    expect(studio.page.locator(".st-key-input-now")).to_contain_text("in-the-gym")


def test_control_and_z_take_back_a_stroke_and_not_the_prompt(studio: Studio) -> None:
    studio.sample("in-the-gym")
    box = studio.page.get_by_label("프롬프트", exact=True)
    box.press_sequentially("초록색 벽")
    studio.unfold("마스크")
    studio.choose("브러시")
    canvas = studio.page.locator("canvas[role=application]")
    covered = studio.page.locator("output.covered")
    canvas.click(position={"x": 40, "y": 40})
    expect(covered).not_to_have_text("0.0% 칠함")
    painted = covered.inner_text()
    studio.page.keyboard.press("Control+z")
    expect(covered).to_have_text("0.0% 칠함")
    studio.page.keyboard.press("Control+Shift+z")
    expect(covered).to_have_text(painted)
    expect(box).to_have_value("초록색 벽")


def test_control_and_enter_start_the_edit(studio: Studio) -> None:
    studio.sample("in-the-gym")
    box = studio.page.get_by_label("프롬프트", exact=True)
    box.fill(PROMPT)
    box.press("Control+Enter")
    studio.wait_for_result()
    expect(studio.page.locator(".st-key-details")).to_be_visible()


def test_a_picture_can_be_pasted(studio: Studio) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "PNG")
    studio.page.evaluate(
        """(content) => {
            const bytes = Uint8Array.from(atob(content), (sign) => sign.charCodeAt(0));
            const clipboardData = new DataTransfer();
            clipboardData.items.add(new File([bytes], "image.png", { type: "image/png" }));
            document.body.dispatchEvent(new ClipboardEvent("paste", { clipboardData, bubbles: true }));
        }""",
        base64.b64encode(buffer.getvalue()).decode(),
    )
    expect(studio.page.locator(".st-key-input-now")).to_contain_text("64 × 48 px · PNG")


def test_a_prompt_that_is_too_long_is_kept_and_said_to_be(studio: Studio) -> None:
    studio.sample("in-the-gym")
    box = studio.page.get_by_label("프롬프트", exact=True)
    box.fill("가" * 2001)
    box.press("Tab")
    studio.settle()
    expect(studio.page.get_by_text("프롬프트가 너무 깁니다: 2001자. 2000자까지 쓸 수 있습니다.")).to_be_visible()
    expect(box).to_have_value("가" * 2001)
