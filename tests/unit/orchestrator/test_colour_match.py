"""Colour matching: a shifted painting comes back to the tone of its surroundings, and nothing else moves."""

from __future__ import annotations

import numpy as np
import pytest

from imgedit.imaging.images import Pixels
from services.orchestrator.imaging.colour_match import MAX_SHIFT, match_colours


def scene() -> tuple[Pixels, Pixels]:
    """A smooth picture (160, 200, 3) and a weight with a box to repaint."""
    rows, columns = np.mgrid[:160, :200]
    original = np.stack([60 + rows // 2, 80 + columns // 3, np.full_like(rows, 120)], axis=2).astype(np.uint8)
    weight = np.zeros((160, 200), np.uint8)
    weight[50:110, 70:150] = 255
    return original, weight


@pytest.mark.parametrize("shift", [-20, -5, 7, 25])
def test_a_constant_shift_is_taken_back_in_the_painted_region(shift: int) -> None:
    original, weight = scene()
    painted = (original.astype(int) + shift).astype(np.uint8)
    matched = match_colours(painted, original, weight)
    assert np.abs(matched[weight > 0].astype(int) - original[weight > 0]).max() <= 1


def test_a_shift_that_grows_across_the_picture_is_followed() -> None:
    original, weight = scene()
    slope = np.linspace(-15, 15, 200)[None, :, None]
    painted = np.rint(original + slope).astype(np.uint8)
    error = np.abs(match_colours(painted, original, weight)[weight > 0].astype(int) - original[weight > 0])
    assert error.mean() < 2
    assert error.max() <= 6


def test_what_the_model_painted_stays_apart_from_its_tone() -> None:
    original, weight = scene()
    painted = original.copy()
    painted[70:90, 100:120] = (250, 10, 10)
    assert np.abs(match_colours(painted, original, weight).astype(int) - painted).max() <= 1


def test_no_pixel_moves_by_more_than_the_limit() -> None:
    original, weight = scene()
    painted = np.zeros_like(original)
    moved = match_colours(painted, original, weight).astype(int) - painted
    assert moved.max() == MAX_SHIFT


@pytest.mark.parametrize("value", [0, 255])
def test_without_a_border_nothing_is_changed(value: int) -> None:
    original, weight = scene()
    painted = 255 - original
    assert match_colours(painted, original, np.full_like(weight, value)) is painted


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (1, 1), (33, 47)])
def test_any_size_is_handled(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    original, painted = (rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(2))
    weight = rng.choice(np.array([0, 255], np.uint8), shape)
    assert match_colours(painted, original, weight).shape == painted.shape
