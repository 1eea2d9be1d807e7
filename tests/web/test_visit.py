"""A session around edits: progress, cancel, history, variants, languages."""

from __future__ import annotations

import gc
import io
import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from imgedit import SyncEditClient
from imgedit.request import EditOptions
from studio import input_images
from studio.line import Job
from studio.runs import Run, Task
from studio.session import Session
from tests.demo_stack import SAMPLES, DemoStack
from tests.e2e.orchestrators import wait_for
from tests.web.studio_page import EDIT_SECONDS, Studio, payload, picture, png

QWEN = "BEN2 + Qwen-Image"
SIDE = 1024
"""The work area of such a picture is as large as the stack allows."""

pytestmark = pytest.mark.timeout(400)


def slow_edit(studio: Studio) -> None:
    """Asked for, not waited for: the largest work area, the most steps."""
    studio.choose(QWEN)
    large = picture(SAMPLES / "in-the-gym.png").resize((SIDE, SIDE))
    studio.upload(payload("large.png", png(large)))
    studio.prompt("운동복을 빨간색으로 변경")
    for name in ("Steps", "Strength"):
        slider = studio.page.get_by_role("slider", name=name)
        slider.focus()
        slider.press("End")
    studio.settle()
    studio.start()


def test_a_running_edit_shows_stage_step_time_and_preview(studio: Studio) -> None:
    slow_edit(studio)
    progress = studio.page.locator(".st-key-progress")
    expect(progress.get_by_text("작업 3/4 · 편집 (Qwen-Image-Edit)")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    expect(progress.get_by_text("/50")).to_be_visible()
    expect(progress.get_by_text("경과")).to_be_visible()
    expect(progress.get_by_role("img", name="미리보기")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    expect(studio.edit_button).to_contain_text("다음으로 예약: 이미지 편집")
    studio.press("취소")
    expect(studio.edit_button).not_to_contain_text("다음으로 예약", timeout=EDIT_SECONDS * 1000)


def test_the_next_edits_wait_in_line_over_a_refresh_and_one_can_leave(studio: Studio) -> None:
    slow_edit(studio)
    running = studio.page.locator(".st-key-progress")
    running.wait_for()
    studio.start()
    expect(studio.page.get_by_text("같은 편집이 진행 중이거나")).to_be_visible()
    waiting = studio.page.locator('[class*="st-key-line-leave-"]')
    expect(waiting).to_have_count(0)
    steps = studio.page.get_by_role("slider", name="Steps")
    steps.focus()
    steps.press("Home")
    expect(steps).to_have_value("10")
    line = studio.page.locator(".st-key-card-line")
    for place, prompt in enumerate(("파란색으로 변경", "초록색으로 변경"), 1):
        studio.prompt(prompt)
        studio.start()
        expect(line).to_contain_text(f"{place}번째 · 외관 편집 · {prompt}")
    studio.page.on("dialog", lambda question: question.accept())
    studio.page.reload()
    expect(running).to_be_visible(timeout=EDIT_SECONDS * 1000)
    expect(waiting).to_have_count(2)
    waiting.first.click()
    expect(waiting).to_have_count(1)
    expect(line).to_contain_text("1번째 · 외관 편집 · 초록색으로 변경")
    studio.press("취소")
    expect(studio.page.get_by_text("편집을 취소했습니다.")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    studio.wait_for_result()
    [result] = studio.page.get_by_role("group", name="작업 기록").get_by_role("button").all()
    expect(result).to_contain_text("초록색으로 변경")


def test_batches_wait_in_line_and_each_keeps_its_name_and_zip_over_a_refresh(studio: Studio) -> None:
    slow_edit(studio)
    running = studio.page.locator(".st-key-progress")
    running.wait_for()
    steps = studio.page.get_by_role("slider", name="Steps")
    steps.focus()
    steps.press("Home")
    expect(steps).to_have_value("10")
    studio.upload(SAMPLES / "in-the-gym.png", SAMPLES / "gym-shirt.png")
    expect(studio.page.get_by_text("3장을 한꺼번에 편집합니다.")).to_be_visible()
    line = studio.page.locator(".st-key-card-line")
    for place, prompt in enumerate(("파란색으로 변경", "초록색으로 변경", "빨간색으로 변경"), 1):
        studio.prompt(prompt)
        studio.start()
        expect(line).to_contain_text(f"{place}번째 · 묶음 {place} · 외관 편집 · {prompt} (×3)")
    studio.page.on("dialog", lambda question: question.accept())
    studio.page.reload()
    expect(running).to_be_visible(timeout=EDIT_SECONDS * 1000)
    waiting = studio.page.locator('[class*="st-key-line-leave-"]')
    expect(waiting).to_have_count(3)
    waiting.nth(1).click()
    expect(line).to_contain_text("2번째 · 묶음 3 ·")
    studio.press("취소")
    result, others = studio.page.locator(".st-key-card-result"), studio.page.locator(".st-key-card-batches")
    expect(result).to_contain_text("묶음 3 · 외관 편집 · 빨간색으로 변경", timeout=EDIT_SECONDS * 1000)
    expect(result).to_contain_text("3/3장 끝남")
    expect(others).to_contain_text("묶음 1 · 외관 편집 · 파란색으로 변경")
    expect(others).not_to_contain_text("묶음 2")
    studio.settle()
    for name in ("ZIP", "모두 다운로드 (ZIP)"):
        with zipfile.ZipFile(io.BytesIO(studio.downloaded(name))) as zipped:
            assert len(zipped.namelist()) == 3
    studio.press("결과 보기")
    expect(result).to_contain_text("묶음 1")
    expect(others).to_contain_text("묶음 3")
    studio.settle()
    result.get_by_role("button", name="지우기").click()
    studio.press("묶음 지우기")
    expect(result).to_have_count(0)
    expect(others).not_to_contain_text("묶음 1")
    expect(others).to_contain_text("묶음 3")


def test_a_cancelled_edit_says_so_and_the_next_one_works(studio: Studio) -> None:
    slow_edit(studio)
    studio.press("취소")
    expect(studio.page.get_by_text("편집을 취소했습니다.")).to_be_visible(timeout=EDIT_SECONDS * 1000)
    expect(studio.page.locator(".st-key-card-result")).to_have_count(0)
    studio.choose("BEN2 + FLUX.1-Fill")
    studio.upload(SAMPLES / "in-the-gym.png")
    studio.edit()
    expect(studio.page.get_by_text("편집을 취소했습니다.")).to_have_count(0)


def test_a_result_becomes_the_next_input_and_the_history_keeps_both(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.prompt("a gym")
    studio.seed(5)
    studio.edit()
    first = studio.downloaded()
    studio.press("이 결과에서 이어서 편집")
    expect(studio.page.get_by_text("in-the-gym-inpainting-5.png")).to_be_visible()
    studio.press("원본으로 돌아가기")
    expect(studio.page.get_by_text("in-the-gym-inpainting-5.png")).to_have_count(0)
    expect(studio.page.get_by_text("in-the-gym.png")).to_be_visible()
    history = studio.page.get_by_role("group", name="작업 기록").get_by_role("button")
    history.last.click()
    studio.settle()
    studio.press("이 결과에서 이어서 편집")
    expect(studio.page.get_by_text("in-the-gym-inpainting-5.png")).to_be_visible()
    studio.settle()
    studio.edit()
    expect(history).to_have_count(2)
    assert history.last.get_attribute("title") == "1번 결과 보기: 영역 채우기"
    assert studio.downloaded() != first
    history.last.click()
    expect(history.last).to_have_attribute("aria-pressed", "true")
    studio.settle()
    assert studio.downloaded() == first
    studio.press("기록 지우기")
    expect(history).to_have_count(0)


def test_one_edit_makes_several_results_to_choose_from_and_four_more_by_a_press(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.prompt("a gym")
    studio.seed(7)
    studio.choose("2")
    studio.edit()
    variants = studio.page.get_by_role("group", name="함께 만든 결과").get_by_role("button")
    expect(variants).to_have_text(["시드 7", "시드 8"])
    first = studio.downloaded()
    variants.nth(1).click()
    expect(variants.nth(1)).to_have_attribute("aria-pressed", "true")
    studio.settle()
    assert studio.used("시드") == "8"
    assert studio.downloaded() != first
    studio.press("이 설정 불러오기")
    expect(studio.page.get_by_role("spinbutton", name="시드 값")).to_have_value("8")
    expect(studio.page.get_by_role("radio", name="1", exact=True)).to_be_checked()
    studio.settle()
    studio.press("다른 결과 4장 더 만들기")
    expect(variants).to_have_count(4, timeout=EDIT_SECONDS * 1000)
    studio.settle()
    assert len({variants.nth(place).inner_text() for place in range(4)}) == 4
    expect(studio.page.get_by_role("group", name="작업 기록").get_by_role("button")).to_have_count(6)


def test_the_expected_time_stands_beside_the_button_before_the_press(studio: Studio) -> None:
    expected = studio.page.locator(".st-key-expected")
    studio.sample("in-the-gym")
    studio.prompt("a gym")
    studio.edit()  # from now on the services know how long such an edit takes
    expect(expected).to_have_text(re.compile(r"약 (\d+분 )?\d+초"))
    studio.choose("4")
    expect(expected).to_have_text(re.compile(r"약 (\d+분 )?\d+초"))
    studio.choose("English")
    expect(expected).to_have_text(re.compile(r"about (\d+ min )?\d+ s"))
    studio.page.get_by_role("button", name="Remove the image").click()
    expect(expected).not_to_be_visible()


def test_english_changes_the_words_and_keeps_what_was_entered(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.prompt("배경을 체육관으로 변경")
    slider = studio.page.get_by_role("slider", name="Steps (추론 단계)")
    slider.focus()
    slider.press("ArrowLeft")
    studio.settle()
    studio.choose("English")
    expect(studio.page.get_by_role("heading", name="Image editing experiments")).to_be_visible()
    expect(studio.page.get_by_role("button", name="Edit the image")).to_be_visible()
    expect(studio.page.get_by_role("button", name="Remove the image")).to_be_visible()
    expect(studio.page.get_by_label("Prompt", exact=True)).to_have_value("배경을 체육관으로 변경")
    expect(studio.page.get_by_role("slider", name="Steps")).to_have_value("27")
    assert studio.page.evaluate("document.documentElement.lang") == "en"
    studio.edit()
    expect(studio.page.get_by_text("Done in")).to_be_visible()
    text = studio.page.locator("[data-testid=stMainBlockContainer]").inner_text()
    hangul = {word for word in text.split() if any("가" <= sign <= "힣" for sign in word)}
    assert hangul <= {"한국어"}
    studio.choose("한국어")
    expect(studio.page.get_by_role("heading", name="이미지 편집 실험")).to_be_visible()
    assert studio.page.evaluate("document.documentElement.lang") == "ko"


def test_a_feature_keeps_its_values_while_another_one_is_looked_at(studio: Studio) -> None:
    slider = studio.page.get_by_role("slider", name="Steps")
    slider.focus()
    slider.press("ArrowRight")
    studio.settle()
    studio.choose("이미지 확장")
    expect(slider).to_have_value("28")
    studio.choose("영역 채우기")
    expect(slider).to_have_value("29")


def test_one_visitor_does_not_wait_for_another_ones_edit(studio: Studio, browser: Browser) -> None:
    slow_edit(studio)
    other = browser.new_context(locale="ko-KR")
    second = Studio(other.new_page(), studio.url)
    second.open()
    second.choose("이미지 확장")
    expect(second.page.get_by_text("확장할 여백").first).to_be_visible()
    expect(studio.page.get_by_role("button", name="취소", exact=True)).to_be_visible()  # it still runs
    expect(second.page.locator(".st-key-progress, .st-key-card-result, .st-key-card-history")).to_have_count(0)
    other.close()
    studio.press("취소")
    expect(studio.page.get_by_text("편집을 취소했습니다.")).to_be_visible(timeout=EDIT_SECONDS * 1000)


def test_leaving_the_page_does_not_end_the_service(studio: Studio, browser: Browser, demo_stack: DemoStack) -> None:
    other = browser.new_context(locale="ko-KR")
    visitor = Studio(other.new_page(), demo_stack.url)
    visitor.open()
    visitor.sample("in-the-gym")
    visitor.prompt("a gym")
    visitor.start()
    visitor.page.locator(".st-key-progress").wait_for()
    other.close()
    studio.sample("in-the-gym")
    studio.prompt("a gym")
    studio.edit()


def test_what_runs_is_cancelled_when_its_visit_is_over(demo_stack: DemoStack) -> None:
    large = input_images.open_image("large.png", png(picture(SAMPLES / "in-the-gym.png").resize((SIDE, SIDE))))
    options: EditOptions = {"experiment": "ben2_qwen_image", "prompt": "빨간색으로", "steps": 50, "strength": 1.0}
    run = Run([Task(large, options)])
    session = Session()
    with SyncEditClient(demo_stack.target) as client:
        session.begin(Job(run), client, EDIT_SECONDS)
        wait_for(lambda: run.tasks[0].progress.step > 0)
        del session
        gc.collect()
        wait_for(lambda: run.is_over)
    assert run.tasks[0].state == "cancelled"


def test_what_is_uploaded_takes_the_place_of_a_sample(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.upload(payload("mine.png", png(Image.new("RGB", (64, 48), "teal"))))
    expect(studio.page.locator(".st-key-input-now")).to_contain_text("64 × 48 px · PNG")
    expect(studio.page.get_by_role("button", name="이미지 지우기")).to_have_count(0)
