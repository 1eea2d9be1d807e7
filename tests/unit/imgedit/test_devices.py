"""Which GPU each model service of a stack takes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from imgedit.local import devices, doctor, doctor_memory, gpu_spread
from imgedit.local.gpu_spread import Replica
from imgedit.local.ports import Ports
from imgedit.local.supervisor import DEMO_MODELS


@pytest.mark.parametrize(
    ("visible", "count"), [(None, 3), ("", 0), ("0", 1), ("2,0", 2), ("GPU-aa,GPU-bb", 2), ("-1", 0), ("0,-1,1", 1)]
)
def test_the_gpus_are_those_that_cuda_will_see(tmp_path: Path, visible: str | None, count: int) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / name).mkdir()
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert devices.gpus(environment, tmp_path) == count
    assert devices.gpus({}, tmp_path / "no driver") == 0


def replica(name: str, gigabytes: int, device: str = "") -> Replica:
    return Replica(name, gigabytes * 10**9, device)


STACK = [replica("segmentation", 3), replica("fill", 39), replica("fill-2", 39), replica("qwen_edit", 68)]


@pytest.mark.parametrize(
    ("replicas", "free", "expected"),
    [
        (STACK, [80, 80], {"qwen_edit": 0, "fill": 1, "segmentation": 1, "fill-2": 1}),
        (STACK, [80, 80, 80], {"qwen_edit": 0, "fill": 1, "segmentation": 2, "fill-2": 2}),
        (STACK, [40, 80], {"qwen_edit": 1, "fill": 0, "segmentation": 1, "fill-2": 1}),
        (STACK, [80], {"qwen_edit": 0, "fill": 0, "segmentation": 0, "fill-2": 0}),
        ([replica("fill", 39), replica("qwen_edit", 68, "cuda:1")], [80, 100], {"fill": 0}),
        ([replica("fill", 39), replica("qwen_edit", 68, "cuda")], [100, 80], {"fill": 1}),
        ([replica("fill", 39), replica("qwen_edit", 68, "cpu")], [80, 100], {"fill": 1}),
        ([replica("fill", 39), replica("qwen_edit", 68, "cuda:7")], [80, 100], {"fill": 1}),
        ([], [80, 80], {}),
    ],
)
def test_the_largest_need_goes_first_to_the_gpu_with_the_most_memory_left(
    replicas: list[Replica], free: list[int], expected: dict[str, int]
) -> None:
    placements = gpu_spread.spread(replicas, [gigabytes * 10**9 for gigabytes in free])
    assert {each.name: each.device for each in placements} == {name: f"cuda:{gpu}" for name, gpu in expected.items()}


def test_no_first_replica_waits_for_the_second_of_a_larger_model() -> None:
    both = [replica("qwen_edit", 68), replica("qwen_edit-2", 68), replica("fill", 39)]
    names = [each.name for each in gpu_spread.spread(both, [80 * 10**9] * 2)]
    assert names == ["qwen_edit", "fill", "qwen_edit-2"]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Pretend that torch finds GPUs with this much free memory."""

    def pretend(*gigabytes: int) -> None:
        facts = {"torch": "2", "devices": [{"free": size * 10**9} for size in gigabytes]}
        monkeypatch.setattr(doctor, "probe", lambda: (facts, ""))

    return pretend


def test_the_plan_of_a_stack_names_rule_need_and_room(machine: Callable[..., None], tmp_path: Path) -> None:
    machine(80, 40)
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "IMGEDIT_SEGMENTATION_DEVICE": "cpu"}
    plan = gpu_spread.planned(Ports(replicas={"fill": 2}), tmp_path, environment)
    assert plan.devices == {"qwen_edit": "cuda:0", "fill": "cuda:1", "fill-2": "cuda:0"}
    assert gpu_spread.RULE in plan.text
    assert "fill cuda:1 (needs 39.0 of 40.0 GB left)" in plan.text
    assert "fill-2 cuda:0 (needs 39.0 of 12.0 GB left, too little)" in plan.text
    [finding] = gpu_spread.for_compose(tmp_path, environment)
    assert "IMGEDIT_QWEN_EDIT_DEVICE=cuda:0 IMGEDIT_FILL_DEVICE=cuda:1" in finding.advice


def test_the_need_of_a_model_is_doctors_arithmetic(machine: Callable[..., None]) -> None:
    machine(80, 40)
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "IMGEDIT_SEGMENTATION_DEVICE": "cpu"}
    demo = doctor_memory.predicted("fill", DEMO_MODELS, {**environment, "IMGEDIT_FILL_DEVICE": "cuda"})
    text = gpu_spread.planned(Ports(), DEMO_MODELS, environment).text
    assert f"needs {demo['on_device'] / 1e9:.1f} of" in text


@pytest.mark.parametrize(("visible", "words"), [("", "no GPU: .* CPU"), ("0", "one GPU: .* share it")])
def test_without_a_choice_the_plan_says_where_all_run(visible: str, words: str, tmp_path: Path) -> None:
    plan = gpu_spread.planned(Ports(replicas={"fill": 2}), tmp_path, {"CUDA_VISIBLE_DEVICES": visible})
    assert re.search(words, plan.text)
    assert plan.devices == {}
    assert [*gpu_spread.for_compose(tmp_path, {"CUDA_VISIBLE_DEVICES": visible})] == []


def test_a_torch_without_gpus_leaves_all_on_the_cpu(machine: Callable[..., None], tmp_path: Path) -> None:
    machine()
    plan = gpu_spread.planned(Ports(), tmp_path, {"CUDA_VISIBLE_DEVICES": "0,1"})
    assert "run on the CPU" in plan.text
    assert plan.devices == {}
