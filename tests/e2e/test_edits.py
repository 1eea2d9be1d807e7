"""Real edits through the public RPC of four real processes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgedit import SyncEditClient
from imgedit.v1 import edit_pb2

QWEN_FEATURES = ("appearance_editing", "semantic_editing", "text_editing", "multi_image_editing")


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def inpaint(client: SyncEditClient, image: bytes | Path, **options: object) -> edit_pb2.EditResponse:
    return client.edit(
        image, experiment="ben2_flux_fill", feature="inpainting", prompt="a gym", seed=7, steps=10, **options
    )


def test_the_same_request_gives_the_same_bytes(client: SyncEditClient, photo: Path) -> None:
    assert inpaint(client, photo).output_image == inpaint(client, photo).output_image


@pytest.mark.parametrize("size", [(512, 600), (1477, 2056), (333, 77), (16, 16), (8000, 600)])
def test_the_answer_has_the_pictures_size_and_kept_pixels_are_the_inputs(
    client: SyncEditClient, photo: Path, size: tuple[int, int]
) -> None:
    picture = Image.open(photo).resize(size)
    mask = Image.new("L", size, 0)
    mask.paste(255, (0, 0, size[0] // 3, size[1]))
    answer = inpaint(client, png(picture), mask=png(mask))
    result, weight = pixels(answer.output_image), pixels(answer.mask_image)
    assert (answer.width, answer.height) == size
    assert result.shape[:2] == weight.shape == (size[1], size[0])
    assert np.array_equal(weight, np.asarray(mask))
    assert np.array_equal(result[weight == 0], np.asarray(picture)[weight == 0])
    assert not np.array_equal(result[weight == 255], np.asarray(picture)[weight == 255])


def test_the_automatic_mask_keeps_the_subject(client: SyncEditClient, photo: Path) -> None:
    answer = inpaint(client, photo)
    result, weight = pixels(answer.output_image), pixels(answer.mask_image)
    cutout = pixels(answer.background_removed_image)
    original = np.asarray(Image.open(photo))
    assert 0.02 < (weight == 0).mean() < 0.98
    assert np.array_equal(result[weight == 0], original[weight == 0])
    assert cutout.shape == (600, 512, 4)
    assert (cutout[weight == 0, 3] > 240).all()
    assert answer.effective.mask_source == edit_pb2.MASK_SOURCE_SEGMENTATION


def test_the_exif_turn_is_applied_once(client: SyncEditClient, photo: Path) -> None:
    upright = Image.open(photo)
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(buffer, "JPEG", quality=95, exif=exif)
    answer = inpaint(client, buffer.getvalue())
    assert (answer.width, answer.height) == upright.size
    seen = np.asarray(Image.open(buffer).transpose(Image.Transpose.ROTATE_270))
    weight = pixels(answer.mask_image)
    assert np.array_equal(pixels(answer.output_image)[weight == 0], seen[weight == 0])


def test_alpha_is_kept_outside_the_mask_and_opaque_inside(client: SyncEditClient, photo: Path) -> None:
    picture = Image.open(photo).resize((128, 160)).convert("RGBA")
    alpha = np.tile(np.linspace(0, 255, 128).astype(np.uint8), (160, 1))
    picture.putalpha(Image.fromarray(alpha))
    mask = Image.new("L", picture.size, 0)
    mask.paste(255, (0, 0, 128, 80))
    answer = inpaint(client, png(picture), mask=png(mask))
    result = pixels(answer.output_image)
    assert result.shape == (160, 128, 4)
    assert np.array_equal(result[80:], np.asarray(picture)[80:])
    assert (result[:80, :, 3] == 255).all()


def test_a_transparent_region_of_the_callers_mask_is_repainted(client: SyncEditClient, photo: Path) -> None:
    mask = Image.new("RGBA", (512, 600), (0, 0, 0, 255))
    mask.paste((0, 0, 0, 0), (0, 0, 100, 600))
    weight = pixels(inpaint(client, photo, mask=png(mask)).mask_image)
    assert (weight[:, :100] == 255).all()
    assert (weight[:, 100:] == 0).all()


def test_strength_zero_returns_the_pictures_own_pixels(client: SyncEditClient, photo: Path) -> None:
    answer = inpaint(client, photo, strength=0.0)
    assert np.array_equal(pixels(answer.output_image), np.asarray(Image.open(photo)))
    assert answer.effective.steps_run == 0


def test_an_unset_seed_is_drawn_and_repeats_the_edit(client: SyncEditClient, photo: Path) -> None:
    first = client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10)
    again = client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", steps=10, seed=first.seed)
    assert first.seed == first.effective.seed
    assert first.output_image == again.output_image


def test_outpainting_adds_the_margins_and_keeps_the_picture(client: SyncEditClient, photo: Path) -> None:
    answer = client.edit(
        photo,
        experiment="ben2_flux_fill",
        feature="outpainting",
        prompt="a gym",
        seed=7,
        steps=10,
        outpaint=edit_pb2.Outpaint(left=37, bottom=11),
    )
    result = pixels(answer.output_image)
    assert (answer.width, answer.height) == (512 + 37, 600 + 11)
    assert np.array_equal(result[:600, 37:], np.asarray(Image.open(photo)))
    assert answer.effective.outpaint.left == 37
    assert answer.background_removed_image


def test_outpainting_follows_the_direction_word(client: SyncEditClient, photo: Path) -> None:
    answer = client.edit(
        photo, experiment="ben2_flux_fill", feature="outpainting", prompt="gym equipment on the left", steps=10
    )
    assert (answer.effective.outpaint.left, answer.effective.outpaint.right) == (128, 0)
    assert answer.width == 512 + 128


def test_outpainting_reaches_an_aspect(client: SyncEditClient, photo: Path) -> None:
    answer = client.edit(
        photo,
        experiment="ben2_flux_fill",
        feature="outpainting",
        prompt="a gym",
        steps=10,
        outpaint=edit_pb2.Outpaint(aspect="16:9"),
    )
    assert (answer.width, answer.height) == (1067, 600)


@pytest.mark.parametrize("feature", QWEN_FEATURES)
def test_every_qwen_feature_runs_with_a_korean_prompt(client: SyncEditClient, photo: Path, feature: str) -> None:
    answer = client.edit(
        photo,
        experiment="ben2_qwen_image",
        feature=feature,
        prompt="운동복을 파란색에서 빨간색으로 변경",
        seed=7,
        steps=10,
        references=[photo] if feature == "multi_image_editing" else [],
    )
    assert answer.success
    assert (answer.width, answer.height) == (512, 600)
    assert answer.effective.negative_prompt == "blurry, low quality, distorted, ugly, deformed"
    assert answer.effective.steps_run == 8
    assert [model.model_id for model in answer.effective.models] == ["BEN2", "Qwen-Image-Edit-2509"]
    weight = pixels(answer.mask_image)
    if feature in ("appearance_editing", "text_editing"):
        original = np.asarray(Image.open(photo))
        assert np.array_equal(pixels(answer.output_image)[weight == 0], original[weight == 0])
    else:
        assert (weight == 255).all()


def test_the_stream_tells_stages_and_steps_in_order(client: SyncEditClient, photo: Path) -> None:
    events: list[edit_pb2.EditEvent] = []
    answer = inpaint(client, photo, on_event=events.append, request_id="my-request.1")
    stages = [event.stage.name for event in events if event.HasField("stage")]
    steps = [event.progress.step for event in events if event.HasField("progress")]
    assert stages == ["segment", "mask", "fill", "composite"]
    assert steps == list(range(1, answer.effective.steps_run + 1))
    assert {event.request_id for event in events} == {answer.request_id} == {"my-request.1"}
    assert {timing.name for timing in answer.stage_timings} == set(stages)


def test_previews_come_when_asked_for(client: SyncEditClient, photo: Path) -> None:
    events: list[edit_pb2.EditEvent] = []
    inpaint(client, photo, on_event=events.append, preview_every=3)
    previews = [Image.open(io.BytesIO(event.preview.image)) for event in events if event.HasField("preview")]
    assert len(previews) >= 2
    assert all(preview.format == "JPEG" and max(preview.size) <= 256 for preview in previews)


def test_the_answer_says_what_was_used(client: SyncEditClient, photo: Path) -> None:
    answer = inpaint(client, photo, guidance_scale=5.0, strength=0.9, negative_prompt="blurry", negative_scale=2.0)
    used = answer.effective
    assert (answer.experiment_id, answer.experiment_name) == ("ben2_flux_fill", "BEN2 + FLUX.1-Fill")
    assert (used.feature_id, used.prompt, used.steps, used.steps_run) == ("inpainting", "a gym", 10, 9)
    assert used.full_steps == 9
    assert (used.guidance_scale, used.strength, used.negative_prompt, used.negative_scale) == (5.0, 0.9, "blurry", 2.0)
    assert used.work_width * used.work_height <= 208 * 208
    assert answer.elapsed_time > 0
