"""The segmentation benchmark runs and ends with one JSON object."""

import json
from pathlib import Path

import pytest

from benchmarks import segmentation
from demo.tiny import ben2 as tiny

pytestmark = pytest.mark.slow


def test_the_benchmark_prints_tables_and_one_json_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.build(tmp_path, seed=1)
    monkeypatch.setattr(segmentation, "SIZES", {"small": (300, 200)})
    assert segmentation.main(["--rounds", "1", "--folder", str(tmp_path), "--device", "cpu"]) == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report["ratio_to_plain"]["plain fp32"] == 1
    assert report["max_difference"]["prepared fp32"] < 0.01
    assert set(report["stages_seconds"]["small"]) == set(segmentation.STAGES)
    assert report["share_of_network"]["small"] > 0
    assert set(report["foreground_seconds"]) == set(segmentation.SUBJECTS)


def test_peak_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    tiny.build(tmp_path, seed=1)
    assert 50 < segmentation.peak_memory(tmp_path, "cpu", "fp32") < segmentation.own_peak_memory(tmp_path, "cpu", None)
