"""The catalogue: the shipped file, the guide's own file, and faults by line and field."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from imgedit.errors import ExperimentNotFound, FeatureNotFound, SettingsError
from services.orchestrator import catalogue
from services.orchestrator.catalogue import SHIPPED

GUIDE = Path(__file__).parents[1] / "data" / "guide_image_editing_config.yaml"


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The shipped file with some text replaced."""
    text = SHIPPED.read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = tmp_path / "experiments.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def line_of(path: Path, text: str) -> int:
    return next(i for i, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if text in line)


def test_the_shipped_file_has_the_guides_experiments() -> None:
    loaded = catalogue.load(SHIPPED)
    assert {e.id: [f.id for f in e.features] for e in loaded.experiments} == {
        "ben2_flux_fill": ["inpainting", "outpainting"],
        "ben2_qwen_image": ["appearance_editing", "semantic_editing", "text_editing", "multi_image_editing"],
    }


def test_the_guides_own_file_loads_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = catalogue.load(GUIDE)
    shipped = catalogue.load(SHIPPED)
    assert loaded.timeout_seconds == 300
    assert "base_url" in caplog.text
    for ours, theirs in zip(shipped.experiments, loaded.experiments, strict=True):
        assert (ours.id, ours.name, ours.description) == (theirs.id, theirs.name, theirs.description)
        assert ours.features == theirs.features
    assert loaded.experiments[0].models[0].path == "/mnt/data4/models/BEN2"


def test_the_first_feature_is_the_default() -> None:
    _, feature = catalogue.load(SHIPPED).find("ben2_flux_fill", None)
    assert feature.id == "inpainting"


def test_what_is_not_there_is_named_with_what_there_is() -> None:
    loaded = catalogue.load(SHIPPED)
    with pytest.raises(ExperimentNotFound, match="ben2_qwen_image"):
        loaded.find("nobody", None)
    with pytest.raises(FeatureNotFound, match="belongs to experiment ben2_flux_fill"):
        loaded.find("ben2_qwen_image", "inpainting")


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("choose: background", "choose: foreground", "stages.1.choose", "'subject' or 'background'"),
        ("          - fill\n", "          - fil\n", "stages.2", "no stage kind 'fil'"),
        ("default: 28, min: 10", "default: 9, min: 10", "parameters.steps", "not within 10 to 50"),
        ("default: 28, min: 10", "default: 28.5, min: 10", "parameters", "whole numbers"),
        ("recommended: [0.8, 1.0]", "recommended: [0.8, 1.1]", "parameters.strength", "recommended"),
        ("requires_mask: true", "requires_masks: true", "requires_masks", "Extra inputs"),
        ('name: "영역 채우기"', 'name: ""', "features.0.name", "at least 1 character"),
        ("direction_fraction: 0.25", "direction_fraction: 2", "direction_fraction", "less than or equal to 1"),
        ("          - mask: {choose: background}\n", "", "features.0", "mask"),
    ],
)
def test_a_fault_is_named_by_file_line_and_field(tmp_path: Path, old: str, new: str, field: str, said: str) -> None:
    path = edited(tmp_path, (old, new))
    with pytest.raises(SettingsError) as caught:
        catalogue.load(path)
    [fault] = [line for line in str(caught.value).splitlines() if field in line]
    assert fault.startswith(f"{path}:")
    assert said in fault
    if new.strip():
        line = int(fault.removeprefix(f"{path}:").split(":")[0])
        assert abs(line - line_of(path, new.strip().splitlines()[0])) <= 12


def test_the_line_of_a_fault_is_exact(tmp_path: Path) -> None:
    path = edited(tmp_path, ("choose: background", "choose: foreground"))
    with pytest.raises(SettingsError) as caught:
        catalogue.load(path)
    assert str(caught.value).startswith(f"{path}:{line_of(path, 'choose: foreground')}:")


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    path = edited(tmp_path, ("choose: background", "choose: x"), ("direction_fraction: 0.25", "direction_fraction: 9"))
    with pytest.raises(SettingsError) as caught:
        catalogue.load(path)
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("experiments: [", "not valid YAML"),
        ("- just\n- a list\n", "must be a mapping"),
        ("experiments: []\n", "at least 1"),
        ("{}\n", "Field required"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said):
        catalogue.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read"):
        catalogue.load(tmp_path / "none.yaml")


def test_ids_must_be_unique(tmp_path: Path) -> None:
    path = edited(tmp_path, ('id: "outpainting"', 'id: "inpainting"'))
    with pytest.raises(SettingsError, match="unique"):
        catalogue.load(path)


def test_a_new_experiment_is_an_entry_and_no_code(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        """
experiments:
  - id: my_sky
    name: My sky
    models: [{model_id: FLUX.1-Fill}]
    features:
      - id: replace
        name: Replace by my own mask
        requires_mask: true
        stages: [{mask: {choose: background}}, fill, composite]
        parameters:
          steps: {default: 20, min: 1, max: 60}
          guidance_scale: {default: 30, min: 1, max: 50}
          strength: {default: 1, min: 0, max: 1}
""",
        encoding="utf-8",
    )
    _, feature = catalogue.load(path).find("my_sky", None)
    assert [stage.kind for stage in feature.stages] == ["mask", "fill", "composite"]
    assert feature.parameters.steps.max == 60
