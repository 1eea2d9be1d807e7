"""`imgedit catalogue import` on the command line: output, files, exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgedit.cli.exit_codes import ExitCode

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "data" / "comfyui"


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command in its own folder."""
    environment = {**os.environ, "PYTHONPATH": str(DATA.parents[2]), "COLUMNS": "400", **variables}
    command = [sys.executable, "-m", "imgedit.cli", "catalogue", "import", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=120, check=False
    )


def test_the_yaml_is_printed_and_nothing_else(tmp_path: Path) -> None:
    done = run(tmp_path, str(DATA / "qwen_one_picture.json"), PYTHONIOENCODING="utf-8")
    assert (done.returncode, done.stderr) == (ExitCode.DONE, "")
    assert done.stdout == (DATA / "qwen_one_picture.yaml").read_text(encoding="utf-8")
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_is_written_and_no_old_one_written_over(tmp_path: Path) -> None:
    workflow = str(DATA / "cut_out.json")
    done = run(tmp_path, workflow, "--id", "mine", "--out", "made/mine.yaml")
    assert (done.returncode, done.stdout) == (ExitCode.DONE, "made/mine.yaml\n")
    written = (tmp_path / "made" / "mine.yaml").read_text(encoding="utf-8")
    assert '- id: "mine"' in written
    again = run(tmp_path, workflow, "--id", "other", "--out", "made/mine.yaml")
    assert again.returncode == ExitCode.FAILED
    assert "is there already, and nothing is written over" in again.stderr
    assert (tmp_path / "made" / "mine.yaml").read_text(encoding="utf-8") == written


def test_a_refusal_has_a_line_on_standard_error_and_writes_nothing(tmp_path: Path) -> None:
    skeleton = str(DATA / "guide_skeleton.json")
    done = run(tmp_path, skeleton, "--out", "skeleton.yaml", "--check")
    assert (done.returncode, done.stdout) == (ExitCode.FAILED, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f'error: {skeleton}: node "3" (CustomNode): class_type: no such node is known here')
    assert list(tmp_path.iterdir()) == []


def test_a_picture_without_a_check_is_refused(tmp_path: Path) -> None:
    done = run(tmp_path, str(DATA / "cut_out.json"), "--picture", "photo.jpg")
    assert done.returncode == ExitCode.FAILED
    assert "need --check" in done.stderr
