"""Which GPU each model service of a stack takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgedit.local import devices
from imgedit.local.ports import Ports


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("", 0), ("0", 1), ("2,0", 2), ("GPU-aa,GPU-bb", 2), ("-1", 0), ("0,-1,1", 1)]
)
def test_the_gpus_are_those_that_cuda_will_see(tmp_path: Path, visible: str | None, count: int) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / name).mkdir()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert devices.gpus(environment, tmp_path) == count
    assert devices.gpus({}, tmp_path / "no driver") == 0


def test_replicas_take_the_gpus_in_turn_and_the_small_model_comes_last() -> None:
    ports = Ports(replicas={"fill": 2, "orchestrator": 2})
    assert devices.placed(ports, 2, {}) == {
        "fill": "cuda:0",
        "qwen_edit": "cuda:1",
        "fill-2": "cuda:0",
        "segmentation": "cuda:1",
    }
    assert devices.placed(ports, 8, {})["segmentation"] == "cuda:3"


@pytest.mark.parametrize("available", [0, 1])
def test_one_gpu_or_none_leaves_the_choice_to_the_services(available: int) -> None:
    assert devices.placed(Ports(), available, {}) == {}


def test_a_device_that_is_set_is_left_alone() -> None:
    placed = devices.placed(Ports(), 2, {"IMGEDIT_FILL_DEVICE": "cuda:1"})
    assert placed == {"qwen_edit": "cuda:0", "segmentation": "cuda:1"}
