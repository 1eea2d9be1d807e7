"""The foreground estimation equals the published blur-fusion formula and takes the old background out of soft edges."""

import numpy as np
import pytest
from numpy.typing import NDArray

from services.segmentation.foreground import box_means, estimate_foreground

Doubles = NDArray[np.float64]


def blur(x: Doubles, side: int) -> Doubles:
    """Mean over the side x side box of (H, W, C), its anchor at side // 2, mirrored at the border: plain sums."""
    pad = (side // 2, side - 1 - side // 2)
    padded = np.pad(x, (pad, pad, (0, 0)), mode="reflect")
    sums = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0), (0, 0)))
    boxes: Doubles = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
    return boxes / side**2


def fuse(image: Doubles, fore: Doubles, back: Doubles, alpha: Doubles, side: int) -> tuple[Doubles, Doubles]:
    """One pass of the formula as it is written in the paper."""
    coverage = blur(alpha, side)
    fore = blur(fore * alpha, side) / (coverage + 1e-5)
    back = blur(back * (1 - alpha), side) / (1 - coverage + 1e-5)
    return np.clip(fore + alpha * (image - alpha * fore - (1 - alpha) * back), 0, 1), back


def formula(image: NDArray[np.uint8], alpha: NDArray[np.float32]) -> Doubles:
    colours, a = image / 255, alpha[:, :, None].astype(np.float64)
    fore, back = fuse(colours, colours, colours, a, 90)
    return fuse(colours, fore, back, a, 6)[0] * 255


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
    assert np.abs(found - formula(image, alpha)).max() <= 1


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


@pytest.mark.parametrize("side", [6, 90])
def test_box_means_cover_the_picture_block_by_block(side: int) -> None:
    layers = np.random.default_rng(1).random((7, 150, 140), np.float32)
    found = np.zeros_like(layers)
    for rows, columns, means in box_means(lambda rows: layers[:, rows], layers.shape[1:], side):
        found[:, rows, columns] = means
    wanted = blur(layers.transpose(1, 2, 0).astype(np.float64), side).transpose(2, 0, 1)
    assert np.allclose(found, wanted, atol=1e-6)
