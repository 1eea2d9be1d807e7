"""The work area: what a model is sent of a picture, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.imaging.work_area import MAX_ASPECT, MAX_ENLARGED_SIDE, WorkArea, looked_at


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(16, 16_384),
    height=st.integers(16, 16_384),
    max_pixels=st.sampled_from([36_864, 262_144, 1_048_576]),
)
def test_a_work_area_is_a_multiple_of_16_and_keeps_the_aspect(width: int, height: int, max_pixels: int) -> None:
    area = WorkArea.whole((width, height), max_pixels)
    assert all(side % 16 == 0 for side in area.padded)
    assert all(0 <= padded - content < 16 for padded, content in zip(area.padded, area.content, strict=True))
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    assert area.content[0] == pytest.approx(width * scale, abs=0.51 if width * scale > 1 else 1)
    assert area.content[1] == pytest.approx(height * scale, abs=0.51 if height * scale > 1 else 1)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(16, 100), height=st.integers(16, 100))
def test_a_picture_that_fits_comes_back_unchanged(width: int, height: int) -> None:
    rgb = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    area = WorkArea.whole((width, height), 1_048_576)
    entered = area.enter(rgb)
    assert entered.shape == (area.padded[1], area.padded[0], 3)
    assert np.array_equal(area.leave(entered, np.zeros_like(rgb)), rgb)


def smooth(size: tuple[int, int]) -> np.ndarray:
    """A picture of waves, (height, width, 3) uint8."""
    width, height = size
    columns, rows = np.meshgrid(np.linspace(0, 6 * np.pi, width), np.linspace(0, 6 * np.pi, height))
    waves = np.rint(127 + 60 * np.sin(columns) + 60 * np.cos(rows)).astype(np.uint8)
    return np.repeat(waves[:, :, None], 3, axis=2)


@pytest.mark.parametrize("size", [(1477, 2056), (8000, 600), (333, 77)])
def test_nothing_shifts_on_the_way_through_the_work_area(size: tuple[int, int]) -> None:
    rgb = smooth(size)
    area = WorkArea.whole(size, 262_144)
    back = area.leave(area.enter(rgb), np.zeros_like(rgb))
    assert np.abs(back.astype(int) - rgb).mean() < 1.0


def test_a_small_mask_gets_a_work_area_of_its_own() -> None:
    mask_alpha = np.zeros((2048, 2048), np.uint8)
    mask_alpha[1000:1410, 300:710] = 200
    area, whole = WorkArea.around(mask_alpha, 1_048_576), WorkArea.whole((2048, 2048), 1_048_576)
    assert area.padded[0] * area.padded[1] < 0.4 * whole.padded[0] * whole.padded[1]
    assert area.box.left < 300 < 710 < area.box.right
    assert area.content == area.box.size, "the crop is not scaled down"
    assert (area.enter_mask(mask_alpha) > 0).sum() == 410 * 410


def test_what_lies_outside_a_crop_comes_back_untouched() -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    mask_alpha = np.zeros((700, 900), np.uint8)
    mask_alpha[300:340, 400:460] = 255
    area = WorkArea.around(mask_alpha, 1_048_576)
    back = area.leave(255 - area.enter(rgb), rgb)
    rows, columns = area.box.slices
    assert np.array_equal(back[rows, columns], 255 - rgb[rows, columns])
    back[rows, columns] = rgb[rows, columns]
    assert np.array_equal(back, rgb)


@settings(max_examples=50, deadline=None)
@given(left=st.integers(0, 300), top=st.integers(0, 200), width=st.integers(1, 400), height=st.integers(1, 300))
def test_the_work_area_holds_the_mask_wherever_it_lies(left: int, top: int, width: int, height: int) -> None:
    mask_alpha = np.zeros((300, 400), np.uint8)
    mask_alpha[top : top + height, left : left + width] = 1
    box = WorkArea.around(mask_alpha, 1_048_576).box
    assert mask_alpha[box.slices].sum() == mask_alpha.sum()


def test_every_touched_pixel_is_repainted_in_the_work_area() -> None:
    mask_alpha = np.zeros((1000, 1000), np.uint8)
    mask_alpha[500, 500] = 1
    area = WorkArea.whole((1000, 1000), 262_144)
    mask = area.enter_mask(mask_alpha)
    assert mask[500 * 512 // 1000, 500 * 512 // 1000] == 255
    assert set(np.unique(mask)) == {0, 255}


LEAST_PIXELS = [1, 36_864, 262_144, 524_288, 1_048_576]


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(16, 3000),
    height=st.integers(16, 3000),
    max_pixels=st.sampled_from([262_144, 1_048_576]),
    min_pixels=st.sampled_from(LEAST_PIXELS),
)
def test_a_small_picture_is_enlarged_to_what_the_model_was_made_for(
    width: int, height: int, max_pixels: int, min_pixels: int
) -> None:
    area = WorkArea.whole((width, height), max_pixels, min_pixels)
    (wide, high), least = area.content, min(min_pixels, max_pixels)
    assert wide * high >= least - (wide + high) or max(wide, high) == MAX_ENLARGED_SIDE
    assert wide * high <= max(max_pixels, width * height if width * height <= max_pixels else 0) + wide + high
    assert wide / width == pytest.approx(high / height, abs=1 / min(width, height) + 0.01)
    assert all(side % 16 == 0 for side in area.padded)


@settings(max_examples=100, deadline=None)
@given(
    left=st.integers(0, 900),
    top=st.integers(0, 700),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    min_pixels=st.sampled_from(LEAST_PIXELS),
)
def test_a_small_masks_work_area_reaches_the_floor(
    left: int, top: int, width: int, height: int, min_pixels: int
) -> None:
    mask_alpha = np.zeros((1024, 1280), np.uint8)
    mask_alpha[top : top + height, left : left + width] = 255
    area = WorkArea.around(mask_alpha, 1_048_576, min_pixels)
    padded = area.padded[0] * area.padded[1]
    assert padded >= min_pixels
    assert area.box == WorkArea.around(mask_alpha, 1_048_576).box, "the floor changes how large it is seen, not what"
    inside = area.enter_mask(mask_alpha) > 0
    assert inside.any()
    assert set(np.unique(area.enter_mask(mask_alpha))) <= {0, 255}


@pytest.mark.parametrize("size", [(300, 200), (512, 512), (77, 333)])
def test_nothing_shifts_on_the_way_through_an_enlarged_work_area(size: tuple[int, int]) -> None:
    rgb = smooth(size)
    area = WorkArea.whole(size, 1_048_576, 1_048_576)
    assert area.content[0] * area.content[1] >= 1_048_576
    back = area.leave(area.enter(rgb), np.zeros_like(rgb))
    assert np.abs(back.astype(int) - rgb).mean() < 0.5


def test_a_long_strip_is_not_made_longer_than_models_take() -> None:
    assert WorkArea.whole((16_000, 20), 1_048_576, 524_288).content == (16_000, 20), "it is longer already"
    assert WorkArea.whole((2_000, 20), 1_048_576, 524_288).content == (4_096, 41)


@pytest.mark.parametrize("size", [(16384, 82), (82, 16384), (16000, 80), (300, 200)])
def test_a_picture_that_qwen_reads_is_not_made_longer_than_it_reads(size: tuple[int, int]) -> None:
    for max_pixels in (65_536, 448 * 448, 1_048_576):
        height, width, _ = looked_at(np.zeros((size[1], size[0], 3), np.uint8), max_pixels).shape
        assert max(width, height) <= MAX_ASPECT * min(width, height)
