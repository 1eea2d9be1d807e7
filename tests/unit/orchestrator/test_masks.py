"""Masks: each step of the way from what was found or painted to the mask alpha."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from imgedit.imaging.pixels import Pixels
from services.orchestrator.imaging import masks
from services.orchestrator.imaging.fill_holes import enclosed, fill_holes
from services.orchestrator.imaging.masks import MaskOptions

WEIGHTS = arrays.arrays(np.uint8, (24, 31), elements=st.sampled_from([0, 1, 60, 128, 254, 255]))


def disc(size: int = 64, radius: int = 20) -> Pixels:
    rows, columns = np.mgrid[:size, :size] - size / 2
    return np.where(rows**2 + columns**2 < radius**2, np.uint8(255), np.uint8(0))


def test_a_threshold_of_one_half_only_stretches_the_ends() -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    levelled = masks.relevel(ramp, 0.5, stretch=True)[0]
    assert (levelled[:6] == 0).all()
    assert (levelled[250:] == 255).all()
    assert abs(int(levelled[128]) - 128) <= 1
    assert (np.diff(levelled.astype(int)) >= 0).all()


@pytest.mark.parametrize("stretch", [False, True])
@pytest.mark.parametrize("threshold", [0.2, 0.35, 0.7, 0.9])
def test_the_threshold_becomes_one_half(threshold: float, stretch: bool) -> None:
    ramp = np.arange(256, dtype=np.uint8)[None]
    levelled = masks.relevel(ramp, threshold, stretch=stretch)[0]
    assert abs(int(levelled[round(255 * threshold)]) - 128) <= 2


def test_growing_adds_the_radius_at_every_side() -> None:
    mask_alpha = np.zeros((40, 40), np.uint8)
    mask_alpha[20, 20] = 255
    grown = masks.grow(mask_alpha, 5)
    assert (grown[15:26, 15:26] == 255).all()
    assert grown.sum() == 11 * 11 * 255


@settings(max_examples=30, deadline=None)
@given(mask_alpha=WEIGHTS, radius=st.integers(0, 6))
def test_feathering_never_reaches_beyond_the_mask(mask_alpha: Pixels, radius: int) -> None:
    assert (masks.feather(mask_alpha, radius) <= mask_alpha).all()


def test_feathering_softens_the_edge_and_keeps_the_middle() -> None:
    soft = masks.feather(disc(), 4)
    assert soft[32, 32] == 255
    assert ((soft > 0) & (soft < 255)).any()


@pytest.mark.parametrize("radius", [1, 5, 8, 9, 40, 256])
def test_a_feather_rises_evenly_over_its_radius(radius: int) -> None:
    mask_alpha = np.zeros((9, 800), np.uint8)
    mask_alpha[:, 100:] = 255
    soft = masks.feather(mask_alpha, radius)[4].astype(int)
    assert (soft[:100] == 0).all()
    assert (soft[100 + 2 * radius :] == 255).all(), "the picture's border is no edge"
    assert (np.diff(soft) >= 0).all()
    assert 0 < soft[100] < 255
    assert abs(soft[100 + radius // 2] - 128) <= max(70, 256 // radius)


@pytest.mark.parametrize("radius", [3, 64, 256])
def test_what_is_thinner_than_the_feather_turns_faint_but_does_not_vanish(radius: int) -> None:
    mask_alpha = np.zeros((60, 60), np.uint8)
    mask_alpha[:, 30:33] = 255
    assert (masks.feather(mask_alpha, radius)[30, 30:33] > 0).any()


@settings(max_examples=40, deadline=None)
@given(mask_alpha=WEIGHTS, radius=st.integers(0, 40))
def test_growing_takes_the_greatest_around_and_shrinking_the_least(mask_alpha: Pixels, radius: int) -> None:
    row, column = 11, 17
    around = mask_alpha[max(0, row - radius) : row + radius + 1, max(0, column - radius) : column + radius + 1]
    assert masks.grow(mask_alpha, radius)[row, column] == around.max()
    assert masks.shrink(mask_alpha, radius)[row, column] == around.min()


def reached_from_the_border(black: np.ndarray) -> np.ndarray:
    """The plain flood, pixel by pixel."""
    height, width = black.shape
    waiting = [(y, x) for y in range(height) for x in range(width) if y in (0, height - 1) or x in (0, width - 1)]
    reached = np.zeros_like(black)
    while waiting:
        y, x = waiting.pop()
        if 0 <= y < height and 0 <= x < width and black[y, x] and not reached[y, x]:
            reached[y, x] = True
            waiting += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return reached


@settings(max_examples=60, deadline=None)
@given(black=arrays.arrays(np.bool_, st.tuples(st.integers(1, 24), st.integers(1, 24))))
def test_what_is_enclosed_is_what_a_flood_from_the_border_does_not_reach(black: np.ndarray) -> None:
    assert np.array_equal(enclosed(black), black & ~reached_from_the_border(black))


def test_a_ring_is_filled_with_the_soft_edge_of_its_hole_and_keeps_its_own_edge() -> None:
    rows, columns = np.mgrid[:80, :80] - 40
    distance = np.hypot(rows, columns)
    ring = (np.clip(12 - abs(distance - 20), 0, 6) / 6 * 255).astype(np.uint8)
    filled = fill_holes(ring)
    assert (filled[distance < 20] == 255).all()
    assert np.array_equal(filled[distance >= 26], ring[distance >= 26])


def test_a_bay_that_is_open_to_the_border_is_no_hole() -> None:
    mask_alpha = np.full((30, 30), 255, np.uint8)
    mask_alpha[10:20, 10:] = 0
    assert np.array_equal(fill_holes(mask_alpha), mask_alpha)


def test_the_longest_way_out_of_a_maze_is_found() -> None:
    maze = np.full((401, 401), 255, np.uint8)
    maze[1::2, 1:-1] = 0
    maze[2:-1:4, -2] = 0
    maze[4:-1:4, 1] = 0
    maze[0, 1] = 0
    assert np.array_equal(fill_holes(maze), maze)
    maze[0, 1] = 255
    assert (fill_holes(maze) == 255).all()


def test_the_order_is_choose_invert_threshold() -> None:
    alpha = np.arange(256, dtype=np.uint8)[None]
    for subject, invert, expected in (
        ("subject", False, alpha),
        ("background", False, 255 - alpha),
        ("subject", True, 255 - alpha),
        ("background", True, alpha),
    ):
        options = MaskOptions(subject, invert=invert, threshold=0.3)  # type: ignore[arg-type]
        assert np.array_equal(masks.levelled(alpha, options), masks.relevel(expected, 0.3, stretch=True))
        assert options.keeps_subject == ((subject == "background") != invert)


def test_a_lower_threshold_takes_more_in_of_whatever_was_chosen() -> None:
    alpha = np.arange(256, dtype=np.uint8)[None]
    for subject in ("subject", "background"):
        low, high = (masks.levelled(alpha, MaskOptions(subject, threshold=t)) for t in (0.3, 0.7))  # type: ignore[arg-type]
        assert (low >= high).all()
        assert (low > high).any()


@settings(max_examples=30, deadline=None)
@given(mask_alpha=WEIGHTS)
def test_a_callers_mask_without_options_is_used_as_it_is(mask_alpha: Pixels) -> None:
    options = MaskOptions(subject=None)
    assert np.array_equal(masks.shaped(masks.levelled(mask_alpha, options), options), mask_alpha)


def test_holes_are_filled_before_the_mask_grows_and_it_grows_before_it_is_feathered() -> None:
    mask_alpha = np.zeros((120, 120), np.uint8)
    mask_alpha[30:90, 30:90] = 255
    mask_alpha[58:62, 58:62] = 0
    options = MaskOptions(None, fill_holes=True, grow_px=10, feather_px=6)
    shaped = masks.shaped(mask_alpha, options)
    outer = np.zeros((120, 120), bool)
    outer[20:100, 20:100] = True
    assert (shaped[~outer] == 0).all()
    assert (shaped[outer] > 0).all()
    assert (shaped[34:86, 34:86] == 255).all()
