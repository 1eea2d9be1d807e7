"""Masks, the work area and the composite: what changes, what never does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imgedit.images import Pixels
from services.orchestrator import directions, masks
from services.orchestrator.canvas import Canvas
from services.orchestrator.composite import composited
from services.orchestrator.outpaint import extended
from services.orchestrator.parameters import Margins
from services.orchestrator.work_area import WorkArea

WEIGHTS = arrays.arrays(np.uint8, (24, 31), elements=st.sampled_from([0, 1, 60, 128, 254, 255]))


def disc(size: int = 64, radius: int = 20) -> Pixels:
    rows, columns = np.mgrid[:size, :size] - size / 2
    return np.where(rows**2 + columns**2 < radius**2, np.uint8(255), np.uint8(0))


def test_a_threshold_of_one_half_only_stretches_the_ends() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    levelled = masks.relevel(ramp, 0.5)[0]
    assert (levelled[:6] == 0).all()
    assert (levelled[250:] == 255).all()
    assert abs(int(levelled[128]) - 128) <= 1
    assert (np.diff(levelled.astype(int)) >= 0).all()


@pytest.mark.parametrize("threshold", [0.2, 0.35, 0.7, 0.9])
def test_the_threshold_becomes_one_half(threshold: float) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    levelled = masks.relevel(ramp, threshold)[0]
    assert abs(int(levelled[round(255 * threshold)]) - 128) <= 2


def test_growing_adds_the_radius_at_every_side() -> None:
    weight = np.zeros((40, 40), np.uint8)
    weight[20, 20] = 255
    grown = masks.grow(weight, 5)
    assert (grown[15:26, 15:26] == 255).all()
    assert grown.sum() == 11 * 11 * 255


@settings(max_examples=30, deadline=None)
@given(weight=WEIGHTS, radius=st.integers(0, 6))
def test_feathering_never_reaches_beyond_the_mask(weight: Pixels, radius: int) -> None:
    assert (masks.feather(weight, radius) <= weight).all()


def test_feathering_softens_the_edge_and_keeps_the_middle() -> None:
    soft = masks.feather(disc(), 4)
    assert soft[32, 32] == 255
    assert ((soft > 0) & (soft < 255)).any()


@settings(max_examples=200, deadline=None)
@given(
    width=st.integers(16, 16_384),
    height=st.integers(16, 16_384),
    max_pixels=st.sampled_from([36_864, 262_144, 1_048_576]),
)
def test_a_work_area_is_a_multiple_of_16_and_keeps_the_aspect(width: int, height: int, max_pixels: int) -> None:
    area = WorkArea.of((width, height), max_pixels)
    assert all(side % 16 == 0 for side in area.padded)
    assert all(0 <= padded - content < 16 for padded, content in zip(area.padded, area.content, strict=True))
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    assert area.content[0] == pytest.approx(width * scale, abs=0.51 if width * scale > 1 else 1)
    assert area.content[1] == pytest.approx(height * scale, abs=0.51 if height * scale > 1 else 1)


@settings(max_examples=30, deadline=None)
@given(width=st.integers(16, 100), height=st.integers(16, 100))
def test_a_picture_that_fits_comes_back_unchanged(width: int, height: int) -> None:
    rgb = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    area = WorkArea.of((width, height), 1_048_576)
    entered = area.enter(rgb)
    assert entered.shape == (area.padded[1], area.padded[0], 3)
    assert np.array_equal(area.leave(entered, np.zeros_like(rgb)), rgb)


@pytest.mark.parametrize("size", [(1477, 2056), (8000, 600), (333, 77)])
def test_nothing_shifts_on_the_way_through_the_work_area(size: tuple[int, int]) -> None:
    width, height = size
    columns, rows = np.meshgrid(np.linspace(0, 6 * np.pi, width), np.linspace(0, 6 * np.pi, height))
    smooth = np.rint(127 + 60 * np.sin(columns) + 60 * np.cos(rows)).astype(np.uint8)
    rgb = np.repeat(smooth[:, :, None], 3, axis=2)
    area = WorkArea.of(size, 262_144)
    back = area.leave(area.enter(rgb), np.zeros_like(rgb))
    assert np.abs(back.astype(int) - rgb).mean() < 1.0


def test_a_small_mask_gets_a_work_area_of_its_own() -> None:
    weight = np.zeros((2048, 2048), np.uint8)
    weight[1000:1410, 300:710] = 200
    area, whole = WorkArea.around(weight, 1_048_576), WorkArea.of((2048, 2048), 1_048_576)
    assert area.padded[0] * area.padded[1] < 0.4 * whole.padded[0] * whole.padded[1]
    assert area.box.left < 300 < 710 < area.box.right
    assert area.content == area.box.size, "the crop is not scaled down"
    assert (area.enter_mask(weight) > 0).sum() == 410 * 410


def test_what_lies_outside_a_crop_comes_back_untouched() -> None:
    rgb = np.random.default_rng(5).integers(0, 256, (700, 900, 3), dtype=np.uint8)
    weight = np.zeros((700, 900), np.uint8)
    weight[300:340, 400:460] = 255
    area = WorkArea.around(weight, 1_048_576)
    back = area.leave(255 - area.enter(rgb), rgb)
    rows, columns = area.box.slices
    assert np.array_equal(back[rows, columns], 255 - rgb[rows, columns])
    back[rows, columns] = rgb[rows, columns]
    assert np.array_equal(back, rgb)


@settings(max_examples=50, deadline=None)
@given(left=st.integers(0, 300), top=st.integers(0, 200), width=st.integers(1, 400), height=st.integers(1, 300))
def test_the_work_area_holds_the_mask_wherever_it_lies(left: int, top: int, width: int, height: int) -> None:
    weight = np.zeros((300, 400), np.uint8)
    weight[top : top + height, left : left + width] = 1
    box = WorkArea.around(weight, 1_048_576).box
    assert weight[box.slices].sum() == weight.sum()


def test_every_touched_pixel_is_repainted_in_the_work_area() -> None:
    weight = np.zeros((1000, 1000), np.uint8)
    weight[500, 500] = 1
    area = WorkArea.of((1000, 1000), 262_144)
    mask = area.enter_mask(weight)
    assert mask[500 * 512 // 1000, 500 * 512 // 1000] == 255
    assert set(np.unique(mask)) == {0, 255}


@settings(max_examples=60, deadline=None)
@given(weight=WEIGHTS, with_alpha=st.booleans(), seed=st.integers(0, 1000))
def test_the_composite_keeps_every_pixel_of_weight_zero(weight: Pixels, with_alpha: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rgb, painted = (rng.integers(0, 256, (*weight.shape, 3), dtype=np.uint8) for _ in range(2))
    alpha = rng.integers(0, 256, weight.shape, dtype=np.uint8) if with_alpha else None
    done = composited(Canvas(rgb, alpha, weight=weight), painted)
    assert np.array_equal(done.rgb[weight == 0], rgb[weight == 0])
    assert np.array_equal(done.rgb[weight == 255], painted[weight == 255])
    if alpha is not None:
        assert done.alpha is not None
        assert np.array_equal(done.alpha[weight == 0], alpha[weight == 0])
        assert (done.alpha[weight == 255] == 255).all()


@settings(max_examples=40, deadline=None)
@given(
    margins=st.builds(Margins, *(st.integers(0, 90) for _ in range(4))),
    width=st.integers(16, 40),
    height=st.integers(16, 40),
    feather_px=st.integers(0, 20),
)
def test_anextended_picture_holds_the_original_where_the_weight_is_zero(
    margins: Margins, width: int, height: int, feather_px: int
) -> None:
    rgb = np.random.default_rng(3).integers(0, 256, (height, width, 3), dtype=np.uint8)
    if not margins:
        return
    done = extended(Canvas(rgb, None), margins, feather_px)
    assert done.weight is not None
    inside = done.rgb[margins.top : margins.top + height, margins.left : margins.left + width]
    assert done.rgb.shape[:2] == (height + margins.top + margins.bottom, width + margins.left + margins.right)
    assert np.array_equal(inside, rgb)
    weight = done.weight.copy()
    weight[margins.top : margins.top + height, margins.left : margins.left + width] = 0
    assert np.array_equal(weight, done.weight), "the picture itself is kept"
    assert (done.weight == 255).any(), "the margins are painted"
    assert feather_px or (done.weight > 0).sum() == done.weight.size - width * height


@pytest.mark.parametrize(
    ("prompt", "sides"),
    [
        ("왼쪽에 운동 기구 추가", ("left",)),
        ("오른쪽으로 확장", ("right",)),
        ("위쪽과 아래로 하늘과 바닥", ("top", "bottom")),
        ("양옆으로 넓게", ("left", "right")),
        ("gym equipment on the LEFT", ("left",)),
        ("extend above and below", ("top", "bottom")),
        ("all around the picture", ("left", "right", "top", "bottom")),
        ("a bright gym", ()),
        ("a leftover sandwich, topping, brightness", ()),
    ],
)
def test_direction_words_name_the_sides(prompt: str, sides: tuple[str, ...]) -> None:
    assert directions.sides(prompt) == sides
