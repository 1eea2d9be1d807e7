"""All benchmarks in one run, and two runs compared."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import machine
from benchmarks.suite import __main__ as suite
from benchmarks.suite import programs
from benchmarks.suite.comparison import Change, changes, interval
from benchmarks.suite.record import Measured, Record, RecordError, figures, read

FACTS = {"processor": "one", "cores": 2, "gpus": []}


def record(**results: list[dict[str, object]]) -> Record:
    return Record("abc", "2026-01-01T00:00:00+00:00", FACTS, [Measured(name, list(r)) for name, r in results.items()])


def crops(*seconds: float) -> Record:
    return record(crop=[{"rows": [{"max_pixels": 64, "crop_seconds": value, "ratio": 0.5}]} for value in seconds])


def change(before: Record, after: Record, path: str = "rows[max_pixels=64].crop_seconds") -> Change:
    [found] = [change for change in changes(before, after) if change.path == path]
    return found


def test_an_entry_of_a_list_is_named_by_its_fields_and_not_by_its_place() -> None:
    rows = [{"system": "lock", "load": 0.8, "p95_s": 2}, {"system": "engine", "load": 0.8, "p95_s": 1}]
    for order in (rows, rows[::-1]):
        assert ("rows[system=engine,load=0.8].p95_s", 1.0) in figures({"rows": order})
    assert list(figures({"values": [3, True, "x", None]})) == [("values[0]", 3.0)]


def test_a_slower_figure_is_worse_and_a_faster_one_better() -> None:
    slow, fast = crops(1.0, 1.01, 0.99), crops(0.5, 0.51, 0.49)
    assert change(slow, fast).verdict() == "better"
    assert change(fast, slow).verdict() == "worse"
    assert change(fast, slow).ratio == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize("name", ["speedup", "throughput_per_s", "met"])
def test_more_is_better_for_rates(name: str) -> None:
    few, many = record(x=[{"a": {name: v}} for v in (1.0, 1.01)]), record(x=[{"a": {name: v}} for v in (2.0, 2.01)])
    assert change(few, many, f"a.{name}").verdict() == "better"


def test_noise_is_no_change_and_one_run_is_no_proof() -> None:
    assert change(crops(1.0, 1.5, 0.7), crops(1.2, 0.8, 1.6)).verdict() == "same"
    assert change(crops(1.0, 1.0), crops(1.02, 1.02)).verdict() == "same"
    assert change(crops(1.0), crops(2.0, 2.0)).verdict() == "unsure"


def test_the_interval_is_welchs() -> None:
    """Checked by hand.

    Logarithms 0, 0.2 and 1, 1.2: difference 1, standard error 0.1414, 2 degrees of freedom.
    """
    found = interval([1.0, 1.2214027581601699], [2.718281828459045, 3.3201169227365472])
    assert found is not None
    assert found == pytest.approx((1.4791, 4.9957), rel=1e-3)


def test_what_has_no_known_direction_no_pair_or_no_ratio_is_left_out() -> None:
    old = record(x=[{"edits": 5, "growth_bytes": -3, "a_s": 1.0, "b_s": 1.0}], gone=[{"a_s": 1.0}])
    new = record(x=[{"edits": 6, "growth_bytes": 9, "a_s": 1.0, "c_s": 1.0}])
    assert [change.path for change in changes(old, new)] == ["a_s"]


def write(folder: Path, name: str, content: Record) -> str:
    path = folder / name
    path.write_text(content.text())
    return str(path)


def test_the_command_fails_where_a_figure_is_worse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slow, fast = write(tmp_path, "slow", crops(1.0, 1.01)), write(tmp_path, "fast", crops(0.5, 0.51))
    assert suite.main(["compare", fast, slow]) == 1
    assert "1 of 2 figures are worse" in capsys.readouterr().out
    assert suite.main(["compare", slow, fast]) == 0


def test_other_machines_are_compared_by_ratios_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = write(tmp_path, "here", crops(1.0, 1.0))
    there = write(tmp_path, "there", replace(crops(9.0, 9.0), machine={**FACTS, "processor": "two"}))
    assert suite.main(["compare", here, there]) == 2
    assert "different machines (processor)" in capsys.readouterr().err
    assert suite.main(["compare", here, there, "--any-machine"]) == 0


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2}', '{"version": 1, "measured": [{"x": 1}]}', '{"version": 1}']
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=r"record\.json"):
        read(path)


def test_a_record_survives_its_file_and_what_is_not_a_number_becomes_null(tmp_path: Path) -> None:
    kept = record(x=[{"a": float("nan"), "b": [1.5]}])
    assert read(Path(write(tmp_path, "r", kept))).measured == [Measured("x", [{"a": None, "b": [1.5]}])]


def test_the_facts_of_the_machine_are_known() -> None:
    facts = machine.facts()
    assert facts["cores"]
    assert facts["memory_gib"] > 1
    assert facts["packages"]["torch"]
    assert machine.processor_name().startswith(facts["processor"])


@pytest.mark.slow
def test_a_run_writes_its_record_and_prints_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = ("--hours", "0.1", "--fixed", "1", "--real-seconds", "0")
    monkeypatch.setattr(suite, "PROGRAMS", {"capacity": short})
    path = tmp_path / "deep" / "record.json"
    assert suite.main(["run", "--repeats", "2", "--record", str(path)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == json.loads(path.read_text())
    [measured] = read(path).measured
    assert [result["benchmark"] for result in measured.results] == ["capacity"] * 2


@pytest.mark.slow
def test_a_benchmark_that_fails_is_recorded_and_one_without_a_result_is_refused() -> None:
    assert programs.run("crop", ("--rounds", "x"), lambda line: None) == (2, None)
    with pytest.raises(programs.NoResult, match=r"benchmarks\.crop ended with 0"):
        programs.run("crop", ("--help",), lambda line: None)
