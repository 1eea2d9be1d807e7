"""Every feature of the guide, from the picture to the download."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from imgedit import SyncEditClient
from tests.demo_stack import SAMPLES, DemoStack
from tests.web.studio_page import Studio, payload, picture, png

FLUX, QWEN = "BEN2 + FLUX.1-Fill", "BEN2 + Qwen-Image"

pytestmark = pytest.mark.timeout(400)


def test_an_edit_gives_the_bytes_that_the_api_gives(studio: Studio, demo_stack: DemoStack) -> None:
    studio.sample("in-the-gym")
    studio.example("배경을 현대적인 체육관으로 변경")
    studio.seed(7)
    studio.edit()
    with SyncEditClient(demo_stack.target) as client:
        answer = client.edit(
            SAMPLES / "in-the-gym.png", experiment="ben2_flux_fill", prompt="배경을 현대적인 체육관으로 변경", seed=7
        )
    assert studio.downloaded() == answer.output_image
    assert studio.downloaded("배경 제거") == answer.background_removed_image
    assert studio.used("시드") == "7"
    expect(studio.page.get_by_text(answer.effective.prompt)).to_be_visible()
    expect(studio.page.get_by_text("모델에 전달된 프롬프트 · 번역됨")).to_be_visible()


def test_a_task_chooses_its_experiment_and_feature(studio: Studio) -> None:
    tasks = studio.page.get_by_role("group", name="무엇을 할까요?")
    names = [
        "배경 바꾸기",
        "이미지 확장",
        "색·스타일 바꾸기",
        "사물 넣기·빼기",
        "글자 바꾸기",
        "참조 이미지로 편집",
        "배경 제거",
    ]
    expect(tasks.get_by_role("button")).to_contain_text(names)
    tasks.get_by_role("button", name="글자 바꾸기").click()
    for name in (QWEN, "텍스트 편집"):
        expect(studio.page.get_by_role("radio", name=name, exact=True)).to_be_checked()
    expect(studio.page.get_by_role("button", name="티셔츠의 'GYM'을 'FITNESS'로 변경")).to_be_visible()
    studio.choose("외관 편집")  # and the other way round
    expect(tasks.get_by_role("button", name="색·스타일 바꾸기")).to_have_attribute("aria-pressed", "true")
    studio.choose("English")
    tasks = studio.page.get_by_role("group", name="Task")
    expect(tasks.get_by_role("button", name="Change colours and style")).to_have_attribute("aria-pressed", "true")


def test_the_background_is_removed_without_a_prompt(studio: Studio) -> None:
    studio.page.get_by_role("button", name="배경 제거 (BEN2)").click()
    expect(studio.page.get_by_label("프롬프트", exact=True)).to_have_count(0)
    studio.sample("in-the-gym")
    studio.edit()
    result = studio.downloaded_image()
    assert result.mode == "RGBA"
    assert result.getchannel("A").getextrema() == (0, 255)
    expect(studio.page.get_by_role("button", name="다른 결과 4장 더 만들기")).to_have_count(0)
    assert studio.used("마스크") == "BEN2 자동"
    expect(studio.page.get_by_role("cell", name="시드", exact=True)).to_have_count(0)


@pytest.mark.parametrize(
    ("experiment", "feature", "example"),
    [
        (FLUX, "이미지 확장", "왼쪽에 운동 기구 추가"),
        (QWEN, "외관 편집", "운동복의 상의를 파란색에서 빨간색으로 변경"),
        (QWEN, "의미론적 편집", "손에 물병 추가"),
        (QWEN, "텍스트 편집", "티셔츠의 'GYM'을 'FITNESS'로 변경"),
    ],
)
def test_a_feature_works_with_its_example(studio: Studio, experiment: str, feature: str, example: str) -> None:
    studio.choose(experiment)
    studio.choose(feature)
    studio.sample("gym-shirt")
    studio.example(example)
    studio.choose("빠름")
    studio.edit()
    studio.page.get_by_role("tab", name="나란히").click()
    shown = studio.page.get_by_role("tabpanel").locator("img:visible")
    expect(shown).to_have_count(3)
    assert all(shown.nth(place).evaluate("image => image.naturalWidth > 100") for place in range(3))
    result = studio.downloaded_image()
    source = picture(SAMPLES / "gym-shirt.png")
    assert result.size == source.size if feature != "이미지 확장" else result.width > source.width


def test_two_reference_pictures_reach_the_model(studio: Studio) -> None:
    studio.choose(QWEN)
    studio.choose("다중 이미지 편집")
    studio.sample("gym-shirt")
    references = studio.page.locator('[class*="st-key-"][class*="-references"] input[type=file]')
    references.set_input_files([SAMPLES / "in-the-gym.png", SAMPLES / "turned.jpg"])
    expect(studio.page.get_by_text("Picture 3", exact=True)).to_be_visible()
    studio.prompt("참조 이미지의 스타일로 변경")
    studio.choose("빠름")
    studio.edit()
    assert studio.used("참조 이미지") == "2"


def test_the_brush_paints_what_is_repainted_and_nothing_else(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.prompt("a bright modern gym")
    studio.unfold("마스크")
    studio.choose("브러시")
    canvas = studio.page.get_by_role("application")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    studio.page.mouse.move(*middle)
    studio.page.mouse.down()
    studio.page.mouse.move(middle[0] + 40, middle[1], steps=6)
    studio.page.mouse.up()
    studio.settle()
    studio.edit()
    before = np.asarray(picture(SAMPLES / "in-the-gym.png").convert("RGB")).astype(int)
    after = np.asarray(studio.downloaded_image().convert("RGB")).astype(int)
    weight = np.asarray(studio.downloaded_image("마스크"))
    height, width = weight.shape
    assert weight[height // 2, width // 2 + 10] == 255
    assert 0.002 < (weight > 0).mean() < 0.2
    assert (before == after)[weight == 0].all()
    assert (before != after)[weight == 255].any()
    assert studio.used("마스크") == "직접 지정"


def test_one_stroke_on_a_long_picture_is_a_mask_and_leaves_the_page_as_it_is(studio: Studio) -> None:
    """The brush works on a view of 800x12 px, which no upload may have.

    The file has a browser's ending for JPEG.
    """
    data = io.BytesIO()
    Image.new("RGB", (6000, 90), "teal").save(data, "JPEG")
    studio.upload(payload("long.jfif", data.getvalue(), "image/jpeg"))
    studio.unfold("마스크")
    studio.choose("브러시")
    canvas = studio.page.get_by_role("application")
    canvas.focus()
    studio.page.keyboard.down(" ")
    for _ in range(5):
        studio.page.keyboard.press("ArrowRight")
    studio.page.keyboard.up(" ")
    expect(studio.page.locator("output")).not_to_have_text("0.0% 칠함")
    studio.settle()
    expect(studio.page.get_by_test_id("stException")).to_have_count(0)
    expect(studio.page.get_by_test_id("stAlert")).to_have_count(0)
    expect(studio.edit_button).to_be_enabled()


def test_the_brush_works_by_keyboard_and_can_be_undone(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.unfold("마스크")
    studio.choose("브러시")
    covered = studio.page.locator("output")
    expect(covered).to_have_text("0.0% 칠함")
    studio.page.get_by_role("application").focus()
    studio.page.keyboard.down(" ")
    for _ in range(5):
        studio.page.keyboard.press("ArrowRight")
    studio.page.keyboard.up(" ")
    expect(covered).not_to_have_text("0.0% 칠함")
    studio.settle()
    studio.choose("자동 (BEN2)")
    studio.choose("브러시")
    expect(covered).not_to_have_text("0.0% 칠함")  # what was painted is still there
    studio.press("실행 취소")
    expect(covered).to_have_text("0.0% 칠함")


def test_the_brush_fills_the_screen_when_asked_to(studio: Studio) -> None:
    studio.sample("in-the-gym")
    studio.unfold("마스크")
    studio.choose("브러시")
    canvas = studio.page.get_by_role("application")
    before = canvas.bounding_box()
    studio.press("전체 화면")
    expect(studio.page.get_by_role("button", name="전체 화면")).to_have_attribute("aria-pressed", "true")
    after = canvas.bounding_box()
    assert before
    assert after
    assert after["width"] > 1.2 * before["width"]
    canvas.click(position={"x": 50, "y": 50})
    expect(studio.page.locator("output")).not_to_have_text("0.0% 칠함")
    studio.press("전체 화면")
    expect(studio.page.get_by_role("button", name="전체 화면")).to_have_attribute("aria-pressed", "false")


def test_shapes_start_from_the_automatic_mask_and_can_be_inverted_erased_and_enlarged(studio: Studio) -> None:
    page, covered = studio.page, studio.page.locator("output")
    studio.sample("in-the-gym")
    studio.unfold("마스크")
    studio.press("다시 그릴 부분 보기")
    expect(page.get_by_role("img", name="붉은 부분을 다시 그립니다.")).to_be_visible()
    studio.choose("브러시")
    expect(page.get_by_role("img", name="붉은 부분을 다시 그립니다.")).to_have_count(0)
    studio.press("사각형")
    drag(studio, (0.25, 0.25), (0.75, 0.75))
    expect(covered).to_have_text("25% 칠함")
    studio.press("반전")
    expect(covered).to_have_text("75% 칠함")
    studio.press("실행 취소")
    expect(covered).to_have_text("25% 칠함")
    studio.press("지우개")
    studio.press("올가미")
    drag(studio, (0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9))
    expect(covered).to_have_text("0.0% 칠함")
    studio.press("자동 마스크에서 시작")
    expect(covered).not_to_have_text("0.0% 칠함")
    canvas = page.get_by_role("application")
    fitted = canvas.evaluate("canvas => canvas.clientWidth")
    studio.press("확대")
    expect(page.get_by_role("button", name="전체 보기")).to_have_text("150%")
    assert abs(canvas.evaluate("canvas => canvas.clientWidth") - 1.5 * fitted) <= 2
    studio.press("전체 보기")
    assert canvas.evaluate("canvas => canvas.clientWidth") == fitted


def drag(studio: Studio, *places: tuple[float, float]) -> None:
    """Drag the mouse over the brush's image, between fractions of its size."""
    box = studio.page.get_by_role("application").bounding_box()
    assert box
    mouse = studio.page.mouse
    for place, (across, down) in enumerate(places):
        mouse.move(box["x"] + across * box["width"], box["y"] + down * box["height"])
        if not place:
            mouse.down()
    mouse.up()


def test_an_uploaded_mask_is_shown_over_the_picture_and_used(studio: Studio) -> None:
    mask = Image.new("L", picture(SAMPLES / "in-the-gym.png").size)
    mask.paste(255, (0, 0, mask.width // 3, mask.height))
    studio.sample("in-the-gym")
    studio.prompt("a bright modern gym")
    studio.unfold("마스크")
    studio.choose("파일")
    field = studio.page.locator('[class*="-mask-file"] input[type=file]')
    field.set_input_files([payload("mask.png", png(mask))])
    expect(studio.page.get_by_role("img", name="붉은 부분을 다시 그립니다.")).to_be_visible()
    studio.edit()
    assert (np.asarray(studio.downloaded_image("마스크")) == np.asarray(mask)).all()


def test_margins_are_filled_in_for_an_aspect_edited_drawn_and_added(studio: Studio) -> None:
    width, height = picture(SAMPLES / "in-the-gym.png").size
    assert width == height == 256
    studio.choose("이미지 확장")
    studio.sample("in-the-gym")
    studio.prompt("a gym")
    studio.choose("직접 지정")
    expect(studio.page.get_by_role("button", name="1:1", exact=True)).to_be_disabled()
    studio.press("4:3")
    sides = [
        studio.page.get_by_role("spinbutton", name=f"{side} (px)") for side in ("왼쪽", "오른쪽", "위쪽", "아래쪽")
    ]
    for side, margin in zip(sides, ("42", "43", "0", "0"), strict=True):
        expect(side).to_have_value(margin)
    expect(studio.page.get_by_text("확장 뒤 크기: 341 × 256 px").first).to_be_visible()
    sides[0].fill("64")
    sides[0].press("Enter")
    expect(studio.page.get_by_text("확장 뒤 크기: 363 × 256 px").first).to_be_visible()
    studio.settle()
    studio.edit()
    assert studio.downloaded_image().size == (363, 256)
    assert studio.used("여백 (왼쪽, 오른쪽, 위, 아래)") == "64, 43, 0, 0 px"


def test_every_slider_and_choice_reaches_the_server(studio: Studio) -> None:
    studio.choose(QWEN)
    studio.sample("gym-shirt")
    studio.prompt("운동복을 빨간색으로 변경")
    studio.choose("빠름")
    expect(studio.page.get_by_text("Steps (추론 단계): 8 (빠름 프로필)")).to_be_visible()
    studio.choose("고품질")
    steps = studio.page.get_by_role("slider", name="Steps")
    steps.focus()
    steps.press("Home")
    steps.press("ArrowRight")
    strength = studio.page.get_by_role("slider", name="Strength")
    strength.focus()
    strength.press("ArrowLeft")
    studio.settle()
    studio.unfold("부정 프롬프트")
    studio.choose("직접 입력")
    studio.page.get_by_label("직접 입력").last.fill("extra fingers")
    studio.unfold("고급 설정")
    studio.choose("흰 배경")
    studio.choose("WebP")
    studio.edit()
    assert studio.used("프로필") == "고품질"
    assert studio.used("Steps") == "11"
    assert studio.used("Strength") == "0.79"
    assert studio.used("배경 처리") == "흰 배경"
    expect(studio.page.get_by_text("extra fingers").last).to_be_visible()
    assert studio.downloaded()[8:12] == b"WEBP"


def test_a_number_that_the_profile_sets_can_be_set_all_the_same(studio: Studio) -> None:
    studio.sample("gym-shirt")
    studio.prompt("a gym")
    studio.choose("빠름")
    expect(studio.page.get_by_role("slider", name="Steps")).to_have_count(0)
    studio.page.get_by_text("Steps (추론 단계) 직접 정하기").click()
    expect(studio.page.get_by_role("slider", name="Steps")).to_have_value("28")
    studio.settle()
    studio.start()
    # The checkpoints without a few-step LoRA refuse the profile; either way the request was a good one.
    ended = studio.page.locator(".st-key-card-result, .st-key-workbench [data-testid=stAlert]")
    expect(ended.first).to_be_visible(timeout=90_000)
    expect(
        studio.page.get_by_text("빠른 프로필용 LoRA가 설치되어 있지 않습니다.")
        .or_(studio.page.locator(".st-key-card-result"))
        .first
    ).to_be_visible()


def test_an_upload_is_turned_as_its_camera_says(studio: Studio, demo_stack: DemoStack) -> None:
    studio.upload(SAMPLES / "turned.jpg")
    shown = studio.page.locator(".st-key-empty img")
    expect(shown).to_be_visible()
    stored = picture(SAMPLES / "turned.jpg").size
    natural = shown.evaluate("image => [image.naturalWidth, image.naturalHeight]")
    assert (natural[0] > natural[1]) != (stored[0] > stored[1]) or stored[0] == stored[1]


def test_the_samples_are_those_of_the_folder(studio: Studio) -> None:
    names = [path.name for path in sorted(SAMPLES.iterdir()) if path.suffix in (".png", ".jpg")]
    buttons = studio.page.get_by_role("group", name="샘플 이미지").get_by_role("button")
    expect(buttons).to_have_count(len(names))
    assert [buttons.nth(place).get_attribute("title") for place in range(len(names))] == [
        f"{name} 샘플 사용" for name in names
    ]


def test_what_is_sent_to_the_browser_is_scaled_down(studio: Studio, tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (2000, 3000, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "large.png")
    assert (tmp_path / "large.png").stat().st_size > 15_000_000
    studio.upload(tmp_path / "large.png")
    shown = studio.page.locator(".st-key-empty img")
    expect(shown).to_be_visible()
    assert shown.evaluate("image => Math.max(image.naturalWidth, image.naturalHeight)") == 1280


def test_an_image_is_cut_and_turned_before_the_edit_and_the_original_comes_back(studio: Studio) -> None:
    studio.upload(payload("wide.png", png(Image.new("RGB", (64, 48), "teal"))))
    studio.press("자르기·회전")
    tool = studio.page.locator(".st-key-card-crop")
    expect(tool.locator("output")).to_have_text("64 × 48 px")
    studio.press("오른쪽으로 회전")
    tool.get_by_role("slider", name="위쪽 끝").fill("50")
    expect(tool.locator("output")).to_have_text("48 × 32 px")
    for aspect, size in (("1:1", "48 × 48"), ("16:9", "48 × 27"), ("9:16", "36 × 64"), ("3:4", "48 × 64")):
        tool.get_by_role("button", name=aspect, exact=True).click()
        expect(tool.locator("output")).to_have_text(f"{size} px")
    area = tool.get_by_role("img").bounding_box()
    assert area
    studio.page.mouse.move(area["x"] + 1, area["y"] + 1)
    studio.page.mouse.down()
    studio.page.mouse.move(area["x"] + area["width"] - 1, area["y"] + area["height"] / 2)
    studio.page.mouse.up()
    expect(tool.locator("output")).not_to_have_text("48 × 32 px")
    studio.press("적용")
    now = studio.page.locator(".st-key-input-now")
    expect(now).to_contain_text(re.compile(r"4[5-8] × 3[0-4] px · PNG"))
    expect(tool).to_have_count(0)
    studio.settle()
    studio.press("원본으로 돌아가기")
    expect(now).to_contain_text("64 × 48 px · PNG")
