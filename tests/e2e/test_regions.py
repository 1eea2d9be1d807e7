"""Masks, backgrounds and directions through the public RPC of four real processes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from imgedit import SyncEditClient
from imgedit.errors import InvalidArgument, NoSubjectFound
from imgedit.v1 import edit_pb2

QWEN_FEATURES = ("appearance_editing", "semantic_editing", "text_editing", "multi_image_editing")
SIZE = (200, 240)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture
def portrait(photo: Path) -> Image.Image:
    return Image.open(photo).resize(SIZE)


def qwen(client: SyncEditClient, image: Image.Image, feature: str, **options: object) -> edit_pb2.EditResponse:
    return client.edit(
        encoded(image),
        experiment="ben2_qwen_image",
        feature=feature,
        prompt="배경을 야외 공원으로 변경",
        seed=7,
        steps=10,
        strength=0.3,
        **options,
    )


def inpaint(client: SyncEditClient, image: Image.Image, **options: object) -> edit_pb2.EditResponse:
    return client.edit(
        encoded(image), experiment="ben2_flux_fill", prompt="a gym", seed=7, steps=10, strength=0.3, **options
    )


@pytest.mark.parametrize("feature", QWEN_FEATURES)
@pytest.mark.parametrize("background", ["whole", "keep", "remove", "transparent"])
def test_every_background_works_in_every_feature(
    client: SyncEditClient, portrait: Image.Image, feature: str, background: str
) -> None:
    answer = qwen(client, portrait, feature, background=background)
    result, weight = pixels(answer.output_image), pixels(answer.mask_image)
    assert edit_pb2.Background.Name(answer.effective.background) == f"BACKGROUND_{background.upper()}"
    assert result.shape == ((240, 200, 4) if background == "transparent" else (240, 200, 3))
    assert answer.effective.HasField("mask_options") == (background != "whole")
    if background == "keep":
        assert 0 < (weight == 0).mean() < 1
        assert np.array_equal(result[weight == 0], np.asarray(portrait)[weight == 0])
    else:
        assert (weight == 255).all()
    if background == "transparent":
        assert result[:, :, 3].min() < 255


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_mask_of_any_format_touches_only_what_it_paints_white(
    client: SyncEditClient, portrait: Image.Image, format: str
) -> None:
    mask = Image.new("L", SIZE)
    ImageDraw.Draw(mask).ellipse((50, 60, 151, 163), fill=255)
    answer = inpaint(client, portrait, mask=encoded(mask, format, **({} if format == "PNG" else {"quality": 90})))
    result, weight = pixels(answer.output_image), pixels(answer.mask_image)
    black = np.asarray(mask) == 0
    assert (weight[black] == 0).all()
    assert np.array_equal(result[black], np.asarray(portrait)[black])
    assert (weight[~black] > 0).all()


def test_mask_options_come_back_as_they_were_used(client: SyncEditClient, portrait: Image.Image) -> None:
    asked = edit_pb2.MaskOptions(
        subject="MASK_SUBJECT_SUBJECT", invert=True, threshold=0.4, fill_holes=True, grow_px=3, feather_px=2
    )
    assert inpaint(client, portrait, mask_options=asked).effective.mask_options == asked
    by_default = inpaint(client, portrait).effective.mask_options
    assert by_default == edit_pb2.MaskOptions(
        subject="MASK_SUBJECT_BACKGROUND", invert=False, threshold=0.5, fill_holes=False, grow_px=0, feather_px=0
    )


def test_a_grown_and_feathered_mask_of_the_callers_ends_where_it_was_grown_to(
    client: SyncEditClient, portrait: Image.Image
) -> None:
    mask = Image.new("L", SIZE)
    mask.paste(255, (80, 90, 120, 130))
    options = edit_pb2.MaskOptions(grow_px=10, feather_px=5)
    weight = pixels(inpaint(client, portrait, mask=encoded(mask), mask_options=options).mask_image)
    assert (np.argwhere(weight > 0).min(axis=0) == (80, 70)).all()
    assert (np.argwhere(weight > 0).max(axis=0) == (139, 129)).all()
    assert (weight[85:135, 75:125] == 255).all()


def test_a_mask_that_leaves_nothing_to_repaint_is_refused(client: SyncEditClient, portrait: Image.Image) -> None:
    white = encoded(Image.new("L", SIZE, 255))
    with pytest.raises(InvalidArgument, match="nothing to repaint"):
        inpaint(client, portrait, mask=white, mask_options=edit_pb2.MaskOptions(invert=True))


def test_a_picture_without_a_subject_can_be_edited_whole_but_not_around_it(client: SyncEditClient) -> None:
    grey = Image.new("RGB", SIZE, (128, 128, 128))
    with pytest.raises(NoSubjectFound):
        qwen(client, grey, "semantic_editing", background="keep")
    assert qwen(client, grey, "semantic_editing").success


def test_postprocessing_changes_colours_at_the_subjects_edge_and_no_kept_pixel(
    client: SyncEditClient, portrait: Image.Image
) -> None:
    on, off = inpaint(client, portrait), inpaint(client, portrait, postprocess=False)
    weight = pixels(on.mask_image)
    assert on.mask_image == off.mask_image
    assert np.array_equal(pixels(on.output_image)[weight == 0], pixels(off.output_image)[weight == 0])
    refined, plain = pixels(on.background_removed_image), pixels(off.background_removed_image)
    assert np.array_equal(refined[:, :, 3], plain[:, :, 3])
    assert np.array_equal(plain[:, :, :3], np.asarray(portrait))
    soft = (plain[:, :, 3] > 0) & (plain[:, :, 3] < 255)
    assert np.array_equal(refined[~soft], plain[~soft])
    assert not np.array_equal(refined[soft], plain[soft])


def test_the_answer_tells_the_words_that_decided(client: SyncEditClient, portrait: Image.Image) -> None:
    answer = client.edit(
        encoded(portrait),
        experiment="ben2_flux_fill",
        feature="outpainting",
        prompt="gym equipment on the left and right",
        steps=10,
    )
    assert list(answer.effective.direction_words) == ["left", "right"]
    assert (answer.width, answer.height) == (200 + 2 * 50, 240)


def test_the_guides_korean_prompt_extends_to_the_side_that_it_names(
    client: SyncEditClient, portrait: Image.Image
) -> None:
    answer = client.edit(
        encoded(portrait), experiment="ben2_flux_fill", feature="outpainting", prompt="왼쪽에 운동 기구 추가", steps=10
    )
    assert list(answer.effective.direction_words) == ["왼쪽"]
    assert answer.effective.outpaint == edit_pb2.Outpaint(left=50)
    assert answer.effective.requested_prompt == "왼쪽에 운동 기구 추가"
    assert np.array_equal(pixels(answer.output_image)[:, 50:], np.asarray(portrait))


def test_a_prompt_without_a_direction_is_refused_with_an_explanation(
    client: SyncEditClient, portrait: Image.Image
) -> None:
    with pytest.raises(InvalidArgument, match="say where to extend") as caught:
        client.edit(encoded(portrait), experiment="ben2_flux_fill", feature="outpainting", prompt="a bright laptop")
    assert "왼쪽" in caught.value.korean
