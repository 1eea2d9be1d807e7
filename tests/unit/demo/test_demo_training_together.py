"""Two processes that train one network.

They learn what one would from both their batches.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from demo.train.shared.loop import Budget, train
from tests.support.learning_together import SumsTrainer

pytestmark = pytest.mark.slow

STEPS = 5


class BothBatches(SumsTrainer):
    """One process that learns from the batches of two."""

    def step(self, number: int, progress: float) -> float:
        loss = (self.loss(2 * number) + self.loss(2 * number + 1)) / 2
        return self.learn(loss, number, progress)


@pytest.fixture(scope="module")
def taught_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder written by two processes, with the state of their run."""
    folder = tmp_path_factory.mktemp("together")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    asked = ["--steps", str(STEPS), "--out", str(folder), "--scratch", str(folder)]
    part = ["-m", "tests.support.learning_together"]
    ended = subprocess.run([*launch, *part, *asked], capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr
    return folder


def state(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(path, weights_only=True)
    return found


def test_both_end_with_the_same_weights(taught_by_two: Path) -> None:
    first, second = (state(taught_by_two / f"{rank}.pt") for rank in range(2))
    assert len(first["network"]) == 6
    for name, weight in first["network"].items():
        assert torch.equal(weight, second["network"][name]), name
    for mean, other in zip(first["average"]["weights"], second["average"]["weights"], strict=True):
        assert torch.equal(mean, other)


def test_they_learn_what_one_process_learns_from_both_batches(taught_by_two: Path, tmp_path: Path) -> None:
    alone = BothBatches()
    before = {name: weight.clone() for name, weight in alone.network.state_dict().items()}
    train(alone, scratch=tmp_path, budget=Budget(steps=STEPS), resume=False)
    learnt = state(taught_by_two / "0.pt")["network"]
    for name, weight in alone.network.state_dict().items():
        torch.testing.assert_close(learnt[name], weight)
        assert torch.equal(weight, before[name]) == name.startswith("never"), name


def test_the_first_alone_writes_the_state_and_what_comes_after(taught_by_two: Path) -> None:
    assert {path.name for path in taught_by_two.iterdir()} == {"0.pt", "1.pt", "sums", "report"}
    kept = state(taught_by_two / "sums" / "state.pt")
    assert kept["steps"] == STEPS
    assert len(kept["losses"]) == STEPS


def test_what_no_process_learns_from_stays_without_a_gradient(taught_by_two: Path) -> None:
    adamw = state(taught_by_two / "0.pt")["optimizer"]["adamw"]
    learnt, never = {0, 1, 2}, {3, 4}  # always.bias and both of sometimes; both of never
    assert set(adamw["param_groups"][0]["params"]) == learnt | never
    assert set(adamw["state"]) == learnt
