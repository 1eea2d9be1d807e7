"""Published noise levels against the papers' formulas, written out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from services.diffusion.networks.flow import noise_levels, noise_schedule_config
from tests.support import published

STEPS = (1, 4, 8, 28, 40, 50)
SIZES = ((512, 512), (1024, 1024), (1488, 2064))
"""Height and width; the last is 1477 x 2056 padded to multiples of 16."""


def shifted(level: float, mu: float) -> float:
    """The resolution-dependent shift of a noise level in (0, 1] (Esser et al. 2024)."""
    return math.exp(mu) / (math.exp(mu) + (1.0 / level - 1.0))


def mu(tokens: int, low: tuple[int, float], high: tuple[int, float]) -> float:
    """The line through two anchors (tokens, shift), also beyond them."""
    slope = (high[1] - low[1]) / (high[0] - low[0])
    return low[1] + slope * (tokens - low[0])


def flux(steps: int, tokens: int) -> list[float]:
    shift = mu(tokens, (256, 0.5), (4096, 1.15))
    return [*(shifted(1.0 - i / steps, shift) for i in range(steps)), 0.0]


def qwen(steps: int, tokens: int) -> list[float]:
    """The same shift with other anchors, stretched so that the last level is 0.02."""
    shift = mu(tokens, (256, 0.5), (8192, 0.9))
    levels = [shifted(1.0 - i / steps, shift) for i in range(steps)]
    if steps > 1:
        stretch = (1.0 - levels[-1]) / (1.0 - 0.02)
        levels = [1.0 - (1.0 - level) / stretch for level in levels]
    return [*levels, 0.0]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize(("folder", "reference"), [(published.FLUX, flux), (published.QWEN, qwen)])
def test_noise_levels_are_those_of_the_formula(folder: Path, reference, steps: int, size: tuple[int, int]) -> None:  # type: ignore[no-untyped-def]
    tokens = size[0] * size[1] // 256
    found = noise_levels(noise_schedule_config(folder / "scheduler"), steps, tokens).tolist()
    assert found == pytest.approx(reference(steps, tokens), abs=2e-6)
    assert found[0] == 1.0
    assert found == sorted(found, reverse=True)
    if steps > 1 and folder == published.QWEN:
        assert found[-2] == pytest.approx(0.02, abs=2e-6)
