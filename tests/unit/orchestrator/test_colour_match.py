"""Colour matching restores the tone of a shifted painting and moves nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from imgedit.imaging.images import Pixels
from services.orchestrator.imaging.colour_match import MAX_SHIFT, match_colours


def scene() -> tuple[Pixels, Pixels]:
    """A smooth picture (160, 200, 3) and a mask alpha with a box to repaint."""
    rows, columns = np.mgrid[:160, :200]
    original = np.stack([60 + rows // 2, 80 + columns // 3, np.full_like(rows, 120)], axis=2).astype(np.uint8)
    mask_alpha = np.zeros((160, 200), np.uint8)
    mask_alpha[50:110, 70:150] = 255
    return original, mask_alpha


@pytest.mark.parametrize("shift", [-20, -5, 7, 25])
def test_a_constant_shift_is_taken_back_in_the_painted_region(shift: int) -> None:
    original, mask_alpha = scene()
    painted = (original.astype(int) + shift).astype(np.uint8)
    matched = match_colours(painted, original, mask_alpha)
    assert np.abs(matched[mask_alpha > 0].astype(int) - original[mask_alpha > 0]).max() <= 1


def test_a_shift_that_grows_across_the_picture_is_followed() -> None:
    original, mask_alpha = scene()
    slope = np.linspace(-15, 15, 200)[None, :, None]
    painted = np.rint(original + slope).astype(np.uint8)
    error = np.abs(match_colours(painted, original, mask_alpha)[mask_alpha > 0].astype(int) - original[mask_alpha > 0])
    assert error.mean() < 2
    assert error.max() <= 6


def test_what_the_model_painted_stays_apart_from_its_tone() -> None:
    original, mask_alpha = scene()
    painted = original.copy()
    painted[70:90, 100:120] = (250, 10, 10)
    assert np.abs(match_colours(painted, original, mask_alpha).astype(int) - painted).max() <= 1


def test_no_pixel_moves_by_more_than_the_limit() -> None:
    original, mask_alpha = scene()
    painted = np.zeros_like(original)
    moved = match_colours(painted, original, mask_alpha).astype(int) - painted
    assert moved.max() == MAX_SHIFT


@pytest.mark.parametrize("value", [0, 255])
def test_without_a_border_nothing_is_changed(value: int) -> None:
    original, mask_alpha = scene()
    painted = 255 - original
    assert match_colours(painted, original, np.full_like(mask_alpha, value)) is painted


@pytest.mark.parametrize("shape", [(16, 16), (17, 300), (1, 1), (33, 47)])
def test_any_size_is_handled(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    original, painted = (rng.integers(0, 256, (*shape, 3), dtype=np.uint8) for _ in range(2))
    mask_alpha = rng.choice(np.array([0, 255], np.uint8), shape)
    assert match_colours(painted, original, mask_alpha).shape == painted.shape
