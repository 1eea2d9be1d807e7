"""The JSON Schema for editors, and the commands that check a catalogue file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from imgedit.errors import SettingsError
from services.orchestrator.catalogue import experiments, schema
from services.orchestrator.catalogue.experiments import SHIPPED

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "tests" / "data" / "guide_image_editing_config.yaml"
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))
SCHEMA = ROOT / "config" / "experiments.schema.json"


def accepted(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    return validator.is_valid(yaml.safe_load(text))


def test_the_committed_schema_is_current() -> None:
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema.make_schema(), "run `make schema`"
    jsonschema.Draft202012Validator.check_schema(schema.make_schema())


@pytest.mark.parametrize("path", [SHIPPED, GUIDE, *EXAMPLES], ids=lambda path: path.name)
def test_every_file_that_we_ship_loads_and_passes_the_schema(path: Path) -> None:
    experiments.load_catalogue(path)
    assert accepted(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", [SHIPPED, *EXAMPLES], ids=lambda path: path.name)
def test_every_file_names_its_schema_for_editors(path: Path) -> None:
    first = path.read_text(encoding="utf-8").splitlines()[0]
    named = first.partition("yaml-language-server: $schema=")[2]
    assert (path.parent / named).resolve() == SCHEMA


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("- mask: {choose: background}", "- mask: {choose: foreground}"),
        ("- mask: {choose: background}", "- mask"),
        ("- mask: {choose: background}", "- mask:"),
        ("- mask: {choose: background}", "- {kind: mask, choose: background}"),
        ("- mask: {choose: background}", "- {mask: {choose: background}, fill: {}}"),
        ("- fill\n", "- fil\n"),
        ("- fill\n", "- fill: {speed: 1}\n"),
        ("- fill\n", "- 7\n"),
        ("min: 10", "minimum: 10"),
        ("min: 10", "min: ten"),
        ("requires_mask: true", "requires_mask: 1"),
        ('id: "inpainting"', 'id: "In painting"'),
        ("experiments:", "experiment:"),
        ("timeout_seconds: 300", "timeout_seconds: 0"),
    ],
)
def test_the_schema_refuses_what_the_loader_refuses(tmp_path: Path, old: str, new: str) -> None:
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    broken = tmp_path / "broken.yaml"
    broken.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SettingsError):
        experiments.load_catalogue(broken)
    assert not accepted(broken.read_text(encoding="utf-8"))


@pytest.mark.parametrize("stage", ["- fill:", "- fill: {}", "- fill: {steps: 8}"])
def test_a_stage_may_be_written_with_and_without_options(tmp_path: Path, stage: str) -> None:
    text = SHIPPED.read_text(encoding="utf-8").replace("- fill\n", f"{stage}\n", 1)
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    assert accepted(text)
    if "steps" not in stage:
        experiments.load_catalogue(path)


def test_only_the_guides_features_may_leave_their_stages_out() -> None:
    feature = {"id": "mine", "name": "Mine"}
    document: dict[str, Any] = {
        "experiments": [{"id": "e", "name": "E", "models": [{"model_id": "BEN2"}], "features": [feature]}]
    }
    assert not accepted(yaml.safe_dump(document))
    feature["id"] = "inpainting"
    assert accepted(yaml.safe_dump(document))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    imgedit = [sys.executable, "-m", "imgedit.cli", "catalogue"]
    return subprocess.run([*imgedit, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_the_command_checks_files_and_names_every_fault(tmp_path: Path) -> None:
    good = command("check", str(SHIPPED), str(GUIDE))
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("no fault") == 2
    assert "base_url is ignored" in good.stderr

    broken = tmp_path / "broken.yaml"
    text = SHIPPED.read_text(encoding="utf-8").replace("choose: background", "choose: x").replace("max: 50", "max: 5")
    broken.write_text(text, encoding="utf-8")
    bad = command("check", str(broken), str(SHIPPED))
    assert bad.returncode == 1
    line = 1 + text.splitlines().index("          - mask: {choose: x}")
    assert f"{broken}:{line}: experiments.0.features.0.stages.1.mask.choose:" in bad.stderr
    assert len(bad.stderr.splitlines()) == 7
    assert "Traceback" not in bad.stderr
    assert command("check", str(tmp_path / "none.yaml")).returncode == 1
    assert command("check").returncode == 2


def test_the_command_prints_the_schema() -> None:
    printed = command("schema")
    assert printed.returncode == 0
    assert printed.stdout == SCHEMA.read_text(encoding="utf-8")
