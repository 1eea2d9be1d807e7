"""Foreground estimation equals the published formula and removes old background."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.segmentation import plain_foreground
from services.segmentation.foreground import box_means, estimate_foreground


def soft_disc(height: int, width: int) -> NDArray[np.float32]:
    ys, xs = np.mgrid[:height, :width]
    distance = np.hypot(ys - height / 2, xs - width / 2)
    alpha: NDArray[np.float32] = np.clip((0.3 * min(height, width) - distance) / 12 + 0.5, 0, 1).astype(np.float32)
    return alpha


@pytest.mark.parametrize("size", [(200, 330), (64, 64), (47, 60), (3, 50), (1, 1)])
@pytest.mark.parametrize("kind", ["disc", "random", "nothing", "everything", "faint"])
def test_the_estimate_is_the_formula_within_two_levels(size: tuple[int, int], kind: str) -> None:
    generator = np.random.default_rng(2)
    image = generator.integers(0, 256, (*size, 3), np.uint8)
    alpha = {
        "disc": soft_disc(*size),
        "random": generator.random(size, np.float32),
        "nothing": np.zeros(size, np.float32),
        "everything": np.ones(size, np.float32),
        "faint": np.full(size, 1e-4, np.float32),
    }[kind]
    found = estimate_foreground(image, alpha)
    assert found.shape == image.shape
    assert found.dtype == np.uint8
    assert np.abs(found - plain_foreground(image, alpha)).max() <= 1


def test_opaque_pixels_keep_their_colour() -> None:
    image = np.random.default_rng(3).integers(0, 256, (120, 100, 3), np.uint8)
    alpha = soft_disc(120, 100)
    assert np.array_equal(estimate_foreground(image, alpha)[alpha == 1], image[alpha == 1])


def test_no_fringe_of_the_old_background_is_left_at_a_soft_edge() -> None:
    alpha = soft_disc(160, 160)
    subject, ground = np.array([200, 40, 30]), np.array([20, 220, 60])
    mixed = alpha[:, :, None] * subject + (1 - alpha[:, :, None]) * ground
    image = np.rint(mixed).astype(np.uint8)
    edge = (alpha > 0.2) & (alpha < 0.8)
    before = np.abs(image[edge].astype(int) - subject).mean()
    after = np.abs(estimate_foreground(image, alpha)[edge].astype(int) - subject).mean()
    assert after < before / 8


def test_the_inputs_are_left_as_they_are() -> None:
    image, alpha = np.full((20, 20, 3), 100, np.uint8), soft_disc(20, 20)
    kept = image.copy(), alpha.copy()
    estimate_foreground(image, alpha)
    assert np.array_equal(image, kept[0])
    assert np.array_equal(alpha, kept[1])


def test_an_alpha_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"the alpha is \(4, 4\) and the image \(5, 5\)"):
        estimate_foreground(np.zeros((5, 5, 3), np.uint8), np.zeros((4, 4), np.float32))


@pytest.mark.parametrize("kind", ["hard", "far", "corner"])
def test_tiles_that_are_not_computed_equal_the_formula(kind: str) -> None:
    image = np.random.default_rng(5).integers(0, 256, (300, 280, 3), np.uint8)
    alpha = np.zeros((300, 280), np.float32)
    if kind == "hard":
        alpha[64:192, 128:] = 1
    elif kind == "far":
        alpha[130:140, 140:150] = 0.3
    else:
        alpha[:] = 1
        alpha[-1, -1] = 0.999
    assert np.abs(estimate_foreground(image, alpha) - plain_foreground(image, alpha)).max() <= 1


@pytest.mark.parametrize("side", [1, 6, 7, 90])
def test_box_means_are_those_of_plain_sums(side: int) -> None:
    layers = np.random.default_rng(1).random((120, 7, 140), np.float32)
    wanted = np.lib.stride_tricks.sliding_window_view(layers.astype(np.float64), (side, side), (0, 2)).mean((-1, -2))
    assert np.allclose(box_means(layers, side), wanted, rtol=1e-6)
