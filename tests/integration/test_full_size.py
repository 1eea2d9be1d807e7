"""`python -m benchmarks.full_size` on a small configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.full_size import __main__ as full_size
from benchmarks.full_size import checkpoints, cuda, numbers
from benchmarks.full_size.edits import Outcome
from benchmarks.process_memory import Peak
from imgedit import installation

pytestmark = pytest.mark.slow


@pytest.mark.timeout(1200)
def test_the_services_run_a_made_up_checkpoint_and_everything_is_reported(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.full_size", "fill", "--small", "--side", "128", "--small-side", "64"]
    done = subprocess.run(
        [*command, "--text-tokens", "64", "--dtype", "float32", "--folder", str(tmp_path), "--report", str(report)],
        cwd=installation.ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(report.read_text())
    assert found["passed"]
    assert found["block_difference"] == {
        "transformer_blocks": pytest.approx(0, abs=1e-5),
        "single_transformer_blocks": pytest.approx(0, abs=1e-5),
    }
    assert set(found["edits"]) == {"first", "again", "another seed", "another prompt", "guided"}
    assert len(found["edits"]["guided"]["step_seconds"]) == 2
    assert {(row["phase"], row["kind"]) for row in found["memory"]} == {
        (phase, kind) for phase in ("load", "edit") for kind in ("anonymous", "resident")
    }
    assert all(row["measured"] > 10**8 and row["predicted"] > 10**8 for row in found["memory"])
    assert "guided: step 2 of 2" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]  # the checkpoint is gone


@pytest.mark.parametrize("service", ["fill", "qwen_edit"])
def test_the_rows_of_a_gpu_come_from_the_services_own_code(service: str, tmp_path: Path) -> None:
    model = checkpoints.MODELS[service]
    rows = [*cuda.diffusion(service, tmp_path, model.small, torch.device("cpu"), 64, ("off",))]
    assert [row["batch"] for row in rows] == [1, 2]
    assert all(row["step_seconds"] > 0 and row["not_constant"] for row in rows)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_command_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        full_size.main(["--device", "cuda"])
    assert raised.value.code == 2
    assert "--device cuda: torch" in capsys.readouterr().err


def test_equal_pictures_fail_the_checks() -> None:
    same = Outcome(1.0, pixels=b"same", deviation=9.0)
    names = ("first", "again", "another seed", "another prompt", "guided")
    checks = full_size.judged(dict.fromkeys(names, same), {"blocks": 0.5}, 1e-5)
    assert [name for name, is_good in checks.items() if not is_good] == [
        "another seed gives another picture",
        "another prompt gives another picture",
        "blocks equal the library's",
    ]


def test_a_prediction_is_compared_with_the_most_of_all_edits() -> None:
    peaks = {"load": Peak(100, 90), "first: decode": Peak(120, 80), "guided: decode": Peak(110, 85)}
    predicted = {"load": {"anonymous": 90, "resident": 150}, "edit": {"anonymous": 80, "resident": 121}}
    rows = full_size.compared(predicted, peaks)
    assert [(row["phase"], row["kind"], row["measured"], row["is_near"]) for row in rows] == [
        ("load", "anonymous", 90, True),
        ("load", "resident", 100, False),
        ("edit", "anonymous", 85, True),
        ("edit", "resident", 120, True),
    ]


def test_made_up_matrices_keep_the_size_of_activations() -> None:
    name, shape = "blocks.0.weight", (64, 4096)
    plain = torch.from_numpy(numbers.float32(name, shape))
    assert float(plain.std()) == pytest.approx(1 / 64, rel=0.02)
    parts = [*numbers.bfloat16(name, (4096, 4096 + 1))]
    assert sum(len(part) for part in parts) == 4096 * 4097
    assert numbers.quantised(name, shape, "Q4_0").shape == (64, 128 * 18)
    assert numbers.quantised(name, shape, "Q8_0").shape == (64, 128 * 34)
