"""The demo's BEN2: its training, and the shipped weights on held-out scenes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demo.train.ben2 import dataset, train
from services.segmentation.ben2.decoder import quadrants
from services.segmentation.model import Segmenter

pytestmark = pytest.mark.slow

SHIPPED = Path("demo/models/BEN2")


def kept(trainer: train.Ben2Trainer) -> Any:
    """The state as it comes back from a file."""
    file = io.BytesIO()
    torch.save(trainer.state(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_a_run_that_was_interrupted_goes_on_as_if_it_had_not_been() -> None:
    straight, interrupted = train.Ben2Trainer(1), train.Ben2Trainer(1)
    losses = [straight.step(number, progress) for number, progress in enumerate((0.0, 0.5, 0.7))]
    for number, progress in enumerate((0.0, 0.5)):
        interrupted.step(number, progress)
    resumed = train.Ben2Trainer(2)
    resumed.restore(kept(interrupted))
    resumed._seed = 1
    assert resumed.step(2, 0.7) == losses[2]
    mine, theirs = resumed.network.state_dict(), straight.network.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_the_small_and_the_large_network_are_one() -> None:
    trainer = train.Ben2Trainer(1)
    assert all(
        small is large
        for small, large in zip(trainer._sketch.network.parameters(), trainer._lesson.network.parameters(), strict=True)
    )


def test_the_written_folder_loads_as_the_service_loads_it(tmp_path: Path) -> None:
    trainer = train.Ben2Trainer(1)
    train.write(tmp_path, trainer.network)
    alpha = Segmenter.load(tmp_path, device="cpu", precision="fp32").alpha(np.full((256, 256, 3), 90, np.uint8))
    assert alpha.shape == (256, 256)


def test_a_picture_depends_on_its_number_alone() -> None:
    first = dataset.sample(1, 7, 128)
    dataset.sample(1, 8, 128)
    again, other = dataset.sample(1, 7, 128), dataset.sample(2, 7, 128)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert first[0].shape == (128, 128, 3)
    assert first[1].shape == (128, 128)


def test_some_pictures_show_nobody_and_most_show_somebody() -> None:
    shares = [dataset.sample(3, number, 64)[1].mean() / 255 for number in range(60)]
    assert 1 <= sum(share == 0 for share in shares) <= 25
    assert max(shares) > 0.1


def test_targets_are_cut_as_the_network_cuts_its_views() -> None:
    alphas = torch.rand(2, 1, 64, 64)
    views = train.views_of(alphas, 8).unflatten(0, (2, 5))
    assert torch.allclose(views[:, :4, :, 0, 0], quadrants(alphas)[:, :, :, :4, :4].mean((-2, -1)))
    assert torch.allclose(views[:, 4, :, 0, 0], alphas[:, :, :8, :8].mean((-2, -1)))


def test_the_shipped_weights_are_small() -> None:
    assert sum(file.stat().st_size for file in SHIPPED.rglob("*")) <= 2.5e6


def test_the_shipped_weights_find_the_person_and_nobody_where_nobody_is() -> None:
    found = train.measured(SHIPPED, count=20)
    assert found["iou"] >= 0.96
    assert found["iou_varied"] >= 0.93
    assert found["empty"] >= 0.9


@pytest.mark.parametrize("colour", [(255, 255, 255), (128, 128, 128), (206, 40, 44)])
def test_the_shipped_weights_find_nobody_on_a_ground_of_one_colour(colour: tuple[int, int, int]) -> None:
    segmenter = Segmenter.load(SHIPPED, device="cpu")
    ground = np.broadcast_to(np.array(colour, np.uint8), (200, 300, 3))
    assert not (train.weight_of(segmenter, np.ascontiguousarray(ground)) >= 128).any()
