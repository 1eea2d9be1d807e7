"""BEN2 at its official sizes reproduces the published network's output."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from services.segmentation.ben2 import BEN2
from services.segmentation.model import IMAGENET_MEAN, IMAGENET_STD, auto_precision, prepare

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[2] / "data" / "ben2"
SALT = 1


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ben2_recipe", DATA / "recipe.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    with np.load(DATA / "expected.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def network(recipe: ModuleType) -> BEN2:
    network = BEN2()
    weights = {
        name: torch.from_numpy(recipe.stand_in_weight(name, tuple(entry.shape), SALT))
        if entry.is_floating_point()
        else entry
        for name, entry in network.state_dict().items()
    }
    network.load_state_dict(weights, strict=True, assign=True)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def picture(recipe: ModuleType) -> torch.Tensor:
    small = torch.from_numpy(recipe.stand_in_image(SALT))
    pixels = functional.interpolate(small, size=(1024, 1024), mode="bilinear")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (pixels - mean) / std


def test_the_entries_are_the_official_ones() -> None:
    with torch.device("meta"):
        entries = BEN2().state_dict()
    found = {name: [list(e.shape), str(e.dtype).removeprefix("torch.")] for name, e in entries.items()}
    assert found == json.loads((DATA / "state_dict.json").read_text())
    assert len(found) == 535


def test_the_backbone_computes_the_published_maps(
    network: BEN2, picture: torch.Tensor, expected: dict[str, Any]
) -> None:
    small = functional.interpolate(picture, scale_factor=0.25, mode="bilinear")
    maps = network.backbone(small)
    assert [float(m.mean()) for m in maps] == pytest.approx(list(expected["backbone_means"]), abs=5e-5)
    assert [float(m.std()) for m in maps] == pytest.approx(list(expected["backbone_stds"]), abs=5e-5)


@pytest.mark.slow
def test_the_plain_network_computes_the_published_mask(
    network: BEN2, picture: torch.Tensor, expected: dict[str, Any]
) -> None:
    with torch.inference_mode():
        mask = network(picture)
    assert mask.shape == (1, 1, 1024, 1024)
    assert float(mask.mean()) == pytest.approx(float(expected["mean"]), abs=5e-5)
    assert float(mask.std()) == pytest.approx(float(expected["std"]), abs=5e-5)
    assert np.abs(mask[0, 0, ::8, ::8].numpy() - expected["mask"]).max() <= 1e-4


@pytest.mark.slow
def test_the_default_fast_path_stays_close_to_the_published_mask(
    network: BEN2, picture: torch.Tensor, expected: dict[str, Any]
) -> None:
    """In the number format that suits this processor.

    Bf16 is up to 0.022 off, 0.0021 on average.
    """
    most, mean = {"fp32": (1e-3, 1e-4), "bf16": (0.06, 0.004)}[auto_precision("cpu")]
    mask = prepare(network)(picture)
    off = np.abs(mask[0, 0, ::8, ::8].numpy() - expected["mask"])
    assert off.max() <= most
    assert off.mean() <= mean
