"""An edited image stays in place: no shift, no zoom, through work area and VAE.

The transformer is skipped, so the result was only scaled, padded, encoded and decoded. The VAE is the real class with
averaging weights (`averaging_vae.py`). The work area is a quarter of the default one, to be quick.
"""

import functools
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from services.diffusion.networks.runtime_options import DEFAULT_RUNTIME, RuntimeOptions
from services.orchestrator.imaging.work_area import WorkArea
from services.qwen_edit.model import QwenEditAdapter, load
from tests.support.alignment import Spots, moved, zoomed
from tests.support.averaging_vae import averaging_vae
from tests.support.engine import SMALL, checkpoint, qwen_spec

pytestmark = pytest.mark.slow

WORK_PIXELS = 512 * 512
SIZES = [(1477, 2056), (8000, 600), (333, 77)]
each_size = pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")

TOLERANCE = 0.15
"""In px of the full-size picture."""

SPOT = 5.0
"""Standard deviation of the spots in the work area, in px: more than half of what the VAE averages."""


@functools.cache
def adapter(runtime: RuntimeOptions = DEFAULT_RUNTIME) -> QwenEditAdapter:
    """The tiny checkpoint with the averaging VAE."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "Qwen-Image-Edit-2509"
        shutil.copytree(checkpoint("Qwen-Image-Edit-2509"), folder, ignore=shutil.ignore_patterns("vae"))
        averaging_vae().save_pretrained(folder / "vae")
        return load(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=runtime)


def through_the_vae(rgb: NDArray[np.uint8], runtime: RuntimeOptions = DEFAULT_RUNTIME) -> NDArray[np.uint8]:
    """A job whose denoising is skipped: its latents are those of the picture."""
    state = adapter(runtime).prepare(qwen_spec(images=(rgb,), negative_prompt=None))
    state.latents = state.pictures[:, : state.latents.shape[1]]
    return adapter(runtime).decode(state)


@functools.cache
def there_and_back(size: tuple[int, int]) -> tuple[Spots, NDArray[np.uint8]]:
    """A picture of this size, and what the work area and the VAE make of it."""
    area = WorkArea.of(size, WORK_PIXELS)
    spots = Spots(*size, sigma=SPOT * size[0] / area.content[0])
    return spots, area.leave(through_the_vae(area.enter(spots.pixels)), spots.pixels)


@each_size
def test_the_answer_has_the_pictures_size_and_lies_on_it(size: tuple[int, int]) -> None:
    spots, answer = there_and_back(size)
    assert answer.shape == (size[1], size[0], 3)
    assert not np.array_equal(answer, spots.pixels)
    assert spots.displacement(answer) < TOLERANCE


@each_size
def test_the_measure_would_see_half_a_pixel(size: tuple[int, int]) -> None:
    """The control: shifts by 0.5 px, and a zoom that moves the borders by 0.5 px."""
    spots, answer = there_and_back(size)
    for wrong in (moved(answer, 0.5, 0), moved(answer, 0, -0.5), zoomed(answer, 0.5)):
        assert spots.displacement(wrong) > 0.4


def test_tiles_of_the_vae_show_no_seam() -> None:
    rgb = Spots(480, 320, sigma=SPOT).pixels  # more than one tile of 256 px both ways
    whole, tiled = through_the_vae(rgb), through_the_vae(rgb, RuntimeOptions(vae_tiling=True))
    assert abs(tiled.astype(int) - whole).max() <= 1


@pytest.mark.parametrize("size", [*SIZES, (16, 16), (16, 3200), (4096, 4096), (1024, 1024), (5000, 5000), (1999, 17)])
@pytest.mark.parametrize("work_pixels", [WORK_PIXELS, 1024 * 1024])
def test_the_work_area_has_the_pictures_aspect_to_half_a_pixel(size: tuple[int, int], work_pixels: int) -> None:
    """The model's input is scaled by one factor, up to half a pixel per side."""
    area = WorkArea.of(size, work_pixels)
    factor = min(1.0, math.sqrt(work_pixels / (size[0] * size[1])))
    for side, content, padded in zip(size, area.content, area.padded, strict=True):
        assert abs(content - side * factor) <= 0.5
        assert padded % 16 == 0
        assert 0 <= padded - content < 16
