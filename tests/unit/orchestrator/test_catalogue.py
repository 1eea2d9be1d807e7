"""The catalogue: shipped file, prototype's file, faults by line and field."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest

from imgedit.errors import ExperimentNotFound, FeatureNotFound, InvalidArgument, NotFound, SettingsError
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import SHIPPED

GUIDE = Path(__file__).parents[2] / "data" / "guide_image_editing_config.yaml"


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


def faults_of(path: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        experiments.load_catalogue(path)
    return str(caught.value).splitlines()


def test_the_shipped_file_has_the_guides_experiments_and_the_cut_out() -> None:
    loaded = experiments.load_catalogue(SHIPPED)
    assert {e.id: [f.id for f in e.features] for e in loaded.experiments} == {
        "ben2_flux_fill": ["inpainting", "outpainting"],
        "ben2_qwen_image": ["appearance_editing", "semantic_editing", "text_editing", "multi_image_editing"],
        "ben2": ["background_removal"],
    }


def test_every_shipped_feature_is_a_task_in_both_languages_with_examples_where_it_reads_a_prompt() -> None:
    loaded = experiments.load_catalogue(SHIPPED).experiments
    features = [feature for experiment in loaded for feature in experiment.features]
    for feature in features:
        assert set(feature.task) == {"ko", "en"}, feature.id
        assert all(set(example) == {"ko", "en"} for example in feature.examples), feature.id
        assert bool(feature.examples) == (feature.prompt_stage is not None), feature.id
    for language in ("ko", "en"):
        assert len({feature.task[language] for feature in features}) == len(features)


def other_timeout(tmp_path: Path) -> Path:
    path = tmp_path / "guide.yaml"
    path.write_text(GUIDE.read_text("utf-8").replace("timeout: 300", "timeout: 42"), encoding="utf-8")
    return path


def test_the_guides_own_file_loads_unchanged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        loaded = experiments.load_catalogue(GUIDE)
    shipped = experiments.load_catalogue(SHIPPED)
    assert loaded.timeout_seconds == 300
    assert experiments.load_catalogue(other_timeout(tmp_path)).timeout_seconds == 42
    assert "base_url" in caplog.text
    assert [theirs.id for theirs in loaded.experiments] == ["ben2_flux_fill", "ben2_qwen_image"]
    for ours, theirs in zip(shipped.experiments, loaded.experiments, strict=False):
        assert (ours.id, ours.name, ours.description) == (theirs.id, theirs.name, theirs.description)
        assert ours.features == theirs.features
    assert loaded.experiments[0].models[0].path == "/mnt/data4/models/BEN2"


def test_the_first_feature_is_the_default() -> None:
    _, feature = experiments.load_catalogue(SHIPPED).find("ben2_flux_fill", None)
    assert feature.id == "inpainting"


def test_what_is_not_there_is_named_with_what_there_is() -> None:
    loaded = experiments.load_catalogue(SHIPPED)
    with pytest.raises(ExperimentNotFound, match="ben2_qwen_image"):
        loaded.find("nobody", None)
    with pytest.raises(FeatureNotFound, match="belongs to experiment ben2_flux_fill"):
        loaded.find("ben2_qwen_image", "inpainting")


@pytest.mark.parametrize(
    ("ids", "field", "said"),
    [
        (
            ("ben2_flux_fil", None),
            "experiment_id",
            "there is no experiment 'ben2_flux_fil'; did you mean ben2_flux_fill?",
        ),
        (("BEN2_Flux_Fill", None), "experiment_id", "did you mean ben2_flux_fill?"),
        (("ben2_flux_fill", "outpaint"), "feature_id", "did you mean outpainting?"),
    ],
)
def test_a_misspelt_id_is_a_violation_with_the_nearest_one(ids: tuple[str, str | None], field: str, said: str) -> None:
    with pytest.raises(NotFound) as caught:
        experiments.load_catalogue(SHIPPED).find(*ids)
    [violation] = caught.value.violations
    assert violation.field == field
    assert said in violation.description
    assert caught.value.message == f"{field}: {violation.description}"


def test_an_id_without_a_near_one_and_an_endless_one_are_answered_at_once() -> None:
    loaded = experiments.load_catalogue(SHIPPED)
    for wrong in ("nobody", "ben2_flux_fill" * 2_000_000):
        with pytest.raises(ExperimentNotFound) as caught:
            loaded.find(wrong, None)
        assert "did you mean" not in caught.value.message


def test_a_missing_experiment_is_said_to_be_missing() -> None:
    with pytest.raises(InvalidArgument, match=r"^experiment_id: is missing; there are ben2_flux_fill, ") as caught:
        experiments.load_catalogue(SHIPPED).find("", None)
    assert [violation.field for violation in caught.value.violations] == ["experiment_id"]


FEATURE = "experiments.0.features.0"


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("choose: background", "choose: foreground", f"{FEATURE}.stages.1.mask.choose", "is 'foreground'"),
        ("- fill\n", "- fil\n", f"{FEATURE}.stages.2", "no stage 'fil'; did you mean fill?"),
        ("- fill\n", "- 7\n", f"{FEATURE}.stages.2", "the name of a stage"),
        ("- fill\n", "- fill: [1]\n", f"{FEATURE}.stages.2", "the name of a stage"),
        ("- mask: {choose: background}\n", "- mask\n", f"{FEATURE}.stages.1.mask.choose", "is missing"),
        ("default: 28, min", "default: 9, min", f"{FEATURE}.parameters.steps.default", "not within 10 to 50"),
        ("default: 28, min", "default: 28.5, min", f"{FEATURE}.parameters.steps.default", "whole number"),
        ("default: 28, min", "default: '28', min", f"{FEATURE}.parameters.steps.default", "valid number, is '28'"),
        ("default: 28, min", "default: true, min", f"{FEATURE}.parameters.steps.default", "valid number, is True"),
        ("default: 28, min", "default: .nan, min", f"{FEATURE}.parameters.steps.default", "finite"),
        ("max: 50, recommended: [28, 28]", "max: .inf", f"{FEATURE}.parameters.steps.max", "finite"),
        ("min: 10, max: 50", "min: 50, max: 10", f"{FEATURE}.parameters.steps.min", "above max"),
        ("recommended: [0.8, 1.0]", "recommended: [0.8, 1.1]", f"{FEATURE}.parameters.strength.recommended", "within"),
        ("recommended: [0.8, 1.0]", "recommended: 1", f"{FEATURE}.parameters.strength.recommended", "must be a list"),
        (
            "requires_mask: true",
            "requires_masks: true",
            f"{FEATURE}.requires_masks",
            "no such key; did you mean requires_mask?",
        ),
        ("requires_mask: true", "requires_mask: 1", f"{FEATURE}.requires_mask", "valid boolean"),
        ("requires_mask: true", "true: 1", f"{FEATURE}.true", "must be text"),
        ('name: "영역 채우기"', 'name: ""', f"{FEATURE}.name", "at least 1 character"),
        ('id: "inpainting"', 'id: "In painting"', f"{FEATURE}.id", "is 'In painting'"),
        (
            "direction_fraction: 0.25",
            "direction_fraction: 2",
            "stages.1.extend.direction_fraction",
            "less than or equal",
        ),
        ("timeout_seconds: 300", "timeout_seconds: .inf", "timeout_seconds", "finite"),
        ("high: {steps: 40}", "high: {region_steps: true}", "profiles.high.region_steps", "computes the whole picture"),
        ("timeout_seconds: 300", "comfyui: {timeout: soon}", "comfyui.timeout", "valid number"),
        ("mask: {choose: background}", "mask: {choose: background, grow: 3}", ".mask.grow", "did you mean grow_px?"),
        (
            "extend: {direction_fraction: 0.25}",
            "extend: {size: 3}",
            ".extend.size",
            "there are direction_fraction, feather",
        ),
        ('task: {ko: "배경 바꾸기"', 'task: {Korean: "배경 바꾸기"', "task.Korean", "should match pattern"),
        ('task: {ko: "배경 바꾸기"', f'task: {{ko: "{"배" * 41}"', "task.ko", "at most 40 characters"),
        (
            "          - segment  # paints nothing",
            "          - segment\n        examples: [{ko: x}]  # paints nothing",
            ".examples",
            "no stage reads the request's prompt",
        ),
    ],
)
def test_a_fault_is_named_by_file_line_and_field(tmp_path: Path, old: str, new: str, field: str, said: str) -> None:
    path = edited(tmp_path, (old, new))
    [fault] = faults_of(path)
    assert fault.startswith(f"{path}:{line_of(path, new.splitlines()[-1].strip())}: ")
    assert field in fault.split(": ")[1]
    assert said in fault


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ('- id: "outpainting"', '- id: "inpainting"', "experiments.0.features.1.id"),
        ('- id: "ben2_qwen_image"', '- id: "ben2_flux_fill"', "experiments.1.id"),
    ],
)
def test_an_id_that_stands_twice_is_a_fault_of_the_second(tmp_path: Path, old: str, new: str, field: str) -> None:
    line = line_of(SHIPPED, old)
    path = edited(tmp_path, (old, new))
    [fault] = faults_of(path)
    assert fault.startswith(f"{path}:{line}: {field}: ")
    assert "unique" in fault


def test_a_chain_without_the_mask_that_it_needs_is_a_fault_of_its_stages(tmp_path: Path) -> None:
    path = edited(tmp_path, ("          - mask: {choose: background}\n", ""))
    [fault] = faults_of(path)
    assert fault.startswith(f"{path}:{line_of(path, '- fill')}: {FEATURE}.stages.1: fill needs a mask")


def test_every_fault_is_reported_at_once(tmp_path: Path) -> None:
    path = edited(tmp_path, ("choose: background", "choose: x"), ("direction_fraction: 0.25", "direction_fraction: 9"))
    assert len(faults_of(path)) == 2


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("experiments: [", 1, "not valid YAML"),
        ("experiments:\n\t- id: x\n", 2, "not with tabs"),
        ("- just\n- a list\n", 1, "must be a mapping"),
        ("", 1, "is empty"),
        ("# nothing but words\n", 1, "is empty"),
        ("timeout_seconds: 1\n---\nexperiments: []\n", 2, "another document"),
        ("experiments: []\n", 1, "at least 1"),
        ("experiments: 5\n", 1, "experiments: must be a list, is 5"),
        ("experiments: {a: 1}\n", 1, "experiments: must be a list"),
        ("experiments:\n- 5\n", 2, "experiments.0: must be a mapping, is 5"),
        (f"experiments: 0x{'f' * 9000}\n", 1, "experiments: must be a list"),
        ("{}\n", 1, "experiments: is missing"),
        ("timeout_seconds: 1\nexperiments: []\ntimeout_seconds: 2\n", 3, "timeout_seconds: duplicate key"),
        ("experiments:\n- id: a\n  id: b\n", 3, "experiments.0.id: duplicate key, first in line 2"),
        ("experiments: &a\n- *a\n", 1, "contains itself"),
        ("experiments: !!python/name:os.system\n", 1, "could not determine a constructor"),
        ("experiments: *unknown\n", 1, "undefined alias"),
        ("timeout_seconds: 2024-13-32\n", 1, "month"),
        (f"experiments: {'[' * 3000}{']' * 3000}\n", 1, "nested"),
        (f"experiments: [{'1,' * 60_000}]\n", 1, "values"),
        ("#" * 300_000, 1, "KiB"),
        ("experiments: \x07\n", 1, "not valid YAML"),
    ],
)
def test_a_file_that_is_no_catalogue_is_refused_in_one_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    [fault] = faults_of(path)
    assert fault.startswith(f"{path}:{line}: ")
    assert said in fault


def test_no_value_is_too_odd_to_be_reported(tmp_path: Path) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("experiments:\n- id: [1]\n  name: {a: b}\n  models: [null]\n  features: [{id: {}, name: 1.5}]\n")
    faults = faults_of(path)
    assert {fault.split(": ")[1].removeprefix("experiments.0.") for fault in faults} == {
        "id",
        "name",
        "models.0",
        "features.0.id",
        "features.0.name",
        "features.0.stages",
    }


def test_aliases_that_stand_for_billions_of_values_are_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    path.write_text("\n".join(lines))
    started = time.perf_counter()
    assert "aliases written out" in faults_of(path)[0]
    assert time.perf_counter() - started < 5


def test_a_file_that_is_no_text_is_refused_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(b"timeout_seconds: 1\nexperiments: \xff\n")
    assert faults_of(path) == [f"{path}:2: file: is not UTF-8 text"]


def test_aliases_and_merge_keys_may_be_used(tmp_path: Path) -> None:
    path = edited(
        tmp_path,
        (
            "steps: {default: 28, min: 10, max: 50, recommended: [28, 28]}",
            "steps: &steps {default: 28, min: 10, max: 50}",
        ),
        ("steps: {default: 28, min: 10, max: 50, recommended: [28, 40]}", "steps: {<<: *steps, max: 60}"),
    )
    inpainting, outpainting = experiments.load_catalogue(path).experiments[0].features
    assert (inpainting.parameters.steps.max, outpainting.parameters.steps.max) == (50, 60)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"none\.yaml: cannot be read"):
        experiments.load_catalogue(tmp_path / "none.yaml")


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
    _, feature = experiments.load_catalogue(path).find("my_sky", None)
    assert [stage.kind for stage in feature.stages] == ["mask", "fill", "composite"]
    assert feature.parameters.steps.max == 60


CHAIN = """
experiments:
  - id: own
    name: Own
    models: [{{model_id: any}}]
    features:
      - id: feature
        name: Feature
        stages: {stages}
        parameters: {parameters}
"""

RANGE = "{default: 5, min: 1, max: 9}"
OPEN = f"{{steps: {RANGE}, guidance_scale: {RANGE}, strength: {RANGE}}}"
FIXED = "steps: 8, guidance_scale: 1.0, strength: 1.0"


def chain(tmp_path: Path, stages: str, parameters: str = OPEN) -> Path:
    path = tmp_path / "chain.yaml"
    path.write_text(CHAIN.format(stages=stages, parameters=parameters), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("stages", "parameters"),
    [
        ("[segment]", "{}"),
        ("[segment, mask: {choose: background}]", "{}"),
        ("[qwen_edit, composite]", OPEN),
        ("[extend, qwen_edit, composite]", OPEN),
        ("[extend, fill: {prompt: more of it}, composite, qwen_edit, composite]", OPEN),
        (f"[extend, fill: {{prompt: more, {FIXED}}}, composite]", "{}"),
        (
            "[mask: {choose: subject}, fill: {prompt: a}, composite, mask: {choose: subject}, fill, composite]",
            OPEN,
        ),
    ],
)
def test_a_chain_that_makes_sense_is_accepted(tmp_path: Path, stages: str, parameters: str) -> None:
    experiments.load_catalogue(chain(tmp_path, stages, parameters))


@pytest.mark.parametrize(
    ("stages", "parameters", "field", "said"),
    [
        ("[mask: {choose: subject}]", "{}", "stages", "cuts the subject out is"),
        ("[segment, composite]", "{}", "stages", "cuts the subject out is"),
        ("[segment]", OPEN, "parameters.steps", "leave it out"),
        ("[qwen_edit]", OPEN, "stages", "ends with composite"),
        ("[composite, qwen_edit, composite]", OPEN, "stages.0", "after a stage that paints"),
        ("[fill, composite]", OPEN, "stages.0", "needs a mask or extend"),
        ("[extend, fill, qwen_edit: {prompt: a}, composite]", OPEN, "stages.2", "composite stands between"),
        ("[extend, fill: {prompt: a}, composite, fill, composite]", OPEN, "stages.3", "since the last composite"),
        ("[extend, fill, composite, qwen_edit, composite]", OPEN, "stages.1", "one stage reads"),
        ("[extend, segment, mask: {choose: subject}, fill, composite]", OPEN, "stages.2", "mask and extend"),
        ("[mask: {choose: subject}, segment, fill, composite]", OPEN, "stages.1", "must precede the mask"),
        ("[qwen_edit: {prompt: a}, composite, extend, fill, composite]", OPEN, "stages.2", "must precede everything"),
        ("[extend, extend, fill, composite]", OPEN, "stages.1", "one extend at most"),
        ("[qwen_edit, composite]", "{}", "parameters", "steps is missing"),
        (f"[qwen_edit: {{{FIXED}}}, composite]", OPEN, "parameters.steps", "leave it out"),
        (
            "[extend, fill: {prompt: 더 넓게}, composite, qwen_edit, composite]",
            OPEN,
            "stages.1.fill.prompt",
            "English only",
        ),
    ],
)
def test_a_chain_that_makes_no_sense_is_refused_at_its_stage(
    tmp_path: Path, stages: str, parameters: str, field: str, said: str
) -> None:
    [fault] = faults_of(chain(tmp_path, stages, parameters))
    assert f": experiments.0.features.0.{field}: " in fault
    assert said in fault
