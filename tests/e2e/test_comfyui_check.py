"""`imgedit catalogue import --check` on running services.

It edits a sample with the imported experiment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from imgedit.cli.exit_codes import ExitCode
from imgedit.local.ports import Ports
from services.orchestrator.catalogue import experiments

from .conftest import RunningStack

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data" / "comfyui"


def imported(
    folder: Path, name: str, stack_port: int, **inputs: int
) -> tuple[subprocess.CompletedProcess[str], Path, Path]:
    """Run the command on a test workflow with fewer steps.

    Returns its exit and the paths of its files.
    """
    nodes = json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))
    for node in nodes.values():
        if node["class_type"] == "KSampler":
            node["inputs"].update(inputs)
    workflow, out, result = folder / f"{name}.json", folder / f"{name}.yaml", folder / f"{name}.png"
    workflow.write_text(json.dumps(nodes), encoding="utf-8")
    command = [sys.executable, "-m", "imgedit.cli", "catalogue", "import", str(workflow), "--out", str(out)]
    command += ["--check", "--check-output", str(result), "--base-port", str(stack_port)]
    done = subprocess.run(
        command, env={**os.environ, "COLUMNS": "400"}, capture_output=True, text=True, timeout=280, check=False
    )
    return done, out, result


@pytest.mark.parametrize("name", ["manual_mask", "qwen_three_pictures"])
def test_an_imported_experiment_edits_a_sample_before_it_is_written(
    stack: RunningStack, tmp_path: Path, name: str
) -> None:
    done, out, result = imported(tmp_path, name, stack.ports.base, steps=2)
    assert done.returncode == ExitCode.DONE, done.stderr
    assert done.stdout == f"{out}\n"
    assert "checked with" in done.stderr
    assert experiments.load_catalogue(out).experiments[0].id == name
    with Image.open(result) as picture:
        assert picture.size == (256, 256)


def test_nothing_is_written_where_no_service_answers_or_the_edit_fails(stack: RunningStack, tmp_path: Path) -> None:
    done, out, result = imported(tmp_path, "flux_inpaint", Ports.free().base, steps=2)
    assert done.returncode == ExitCode.TRY_LATER, done.stderr
    assert "does not serve; start the services with `imgedit up`" in done.stderr
    refused, _, _ = imported(tmp_path, "flux_lora", stack.ports.base, steps=2)  # no LoRA is loaded
    assert refused.returncode == ExitCode.FAILED, refused.stderr
    assert "LORA_FAST" in refused.stderr
    assert not out.exists()
    assert not result.exists()
    assert [path.name for path in tmp_path.glob("*.yaml")] == []
