"""The parameters of an edit.

Defaults, profiles, ranges, and what a feature has no use for.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from imgedit.errors import ImgeditError, InvalidArgument, PromptRejected
from imgedit.v1 import edit_pb2, profile_pb2
from services.common import texts
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import SHIPPED, Feature
from services.orchestrator.listing import parameter_specs
from services.orchestrator.request import parameters
from services.orchestrator.request.parameters import EditParameters

CATALOGUE = experiments.load_catalogue(SHIPPED)
FEATURES = [(experiment.id, feature.id) for experiment in CATALOGUE.experiments for feature in experiment.features]


def feature_of(experiment: str, feature: str) -> Feature:
    return CATALOGUE.find(experiment, feature)[1]


FILL = feature_of("ben2_flux_fill", "inpainting")
QWEN = feature_of("ben2_qwen_image", "appearance_editing")


def resolved(feature: Feature, **fields: object) -> EditParameters:
    return parameters.resolve_parameters(edit_pb2.EditRequest(**{"prompt": "a gym on the left", **fields}), feature)  # type: ignore[arg-type]


def refused(feature: Feature, **fields: object) -> ImgeditError:
    with pytest.raises(ImgeditError) as caught:
        resolved(feature, **fields)
    return caught.value


@pytest.mark.parametrize(("experiment", "feature"), [one for one in FEATURES if one[0] != "ben2"])
def test_an_empty_request_takes_the_defaults_of_the_guide(experiment: str, feature: str) -> None:
    found = resolved(feature_of(experiment, feature))
    assert (found.steps, found.guidance_scale) == (28, 3.5)
    assert found.strength == (1.0 if feature == "outpainting" else 0.8)
    assert 0 <= found.seed < 2**32
    assert found.profile == "balanced"


def test_the_automatic_negative_prompt_is_qwens_alone() -> None:
    assert resolved(QWEN).negative_prompt == "blurry, low quality, distorted, ugly, deformed"
    assert resolved(FILL).negative_prompt is None
    assert resolved(QWEN, negative_prompt="").negative_prompt == ""
    explicit = resolved(FILL, negative_prompt="blurry")
    assert (explicit.negative_prompt, explicit.negative_scale) == ("blurry", 3.0)


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
@pytest.mark.parametrize("feature", [one for one in FEATURES if one[0] != "ben2"])
def test_a_text_of_millions_of_characters_is_refused_and_not_looked_at(
    feature: tuple[str, str], field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[int] = []
    for name in ("normal", "comparable"):
        monkeypatch.setattr(texts, name, lambda text: looked_at.append(len(text)) or text)
    error = refused(feature_of(*feature), **{field: "a\u0301\u0316" * 10**6})
    assert f"{field}: must have at most 2000 characters, has 3000000" in error.message
    assert max(looked_at, default=0) < 100


@pytest.mark.parametrize("text", ["blurry", ""])
def test_a_negative_prompt_without_guidance_is_reported_as_unused(text: str) -> None:
    unused = resolved(QWEN, negative_prompt=text, guidance_scale=1.0)
    assert unused.negative_prompt is None
    assert len(unused.warnings) == 1
    assert "negative_prompt" in unused.warnings[0].english
    assert resolved(QWEN, negative_prompt=text, guidance_scale=1.1).warnings == ()
    assert resolved(FILL, negative_prompt=text, guidance_scale=1.0).negative_prompt == text


def test_the_automatic_negative_prompt_is_dropped_in_silence_where_there_is_no_guidance() -> None:
    plain = resolved(QWEN, guidance_scale=1.0)
    assert (plain.negative_prompt, plain.warnings) == (None, ())


@pytest.mark.parametrize(
    ("steps", "strength", "run"),
    [(28, 1.0, 28), (28, 0.8, 23), (10, 0.0, 0), (10, 0.05, 1), (50, 0.5, 25), (10, 0.55, 6)],
)
def test_strength_skips_int_of_n_minus_n_times_strength(steps: int, strength: float, run: int) -> None:
    assert resolved(FILL, steps=steps, strength=strength).steps_run == run == steps - int(steps - steps * strength)


def test_a_profile_sets_what_is_unset_and_an_explicit_field_overrides_it() -> None:
    fast = resolved(QWEN, profile=profile_pb2.PROFILE_FAST)
    assert (fast.steps, fast.guidance_scale, fast.strength, fast.profile) == (8, 1.0, 1.0, "fast")
    mixed = resolved(QWEN, profile=profile_pb2.PROFILE_FAST, steps=12)
    assert (mixed.steps, mixed.guidance_scale) == (12, 1.0)
    assert resolved(QWEN, profile=profile_pb2.PROFILE_HIGH).steps == 40


def test_a_profile_may_ask_for_region_steps_or_forbid_them() -> None:
    assert resolved(QWEN).region_steps is None
    profiles = experiments.Profiles(
        fast=experiments.Profile(region_steps=True), balanced=experiments.Profile(region_steps=False)
    )
    feature = QWEN.model_copy(update={"profiles": profiles})
    assert resolved(feature).region_steps is False
    assert resolved(feature, profile=profile_pb2.PROFILE_FAST).region_steps is True
    assert resolved(feature, profile=profile_pb2.PROFILE_HIGH).region_steps is None


def test_the_range_binds_callers_also_under_a_profile_whose_own_value_is_exempt() -> None:
    assert refused(QWEN, profile=profile_pb2.PROFILE_FAST, steps=8).violations[0].field == "steps"


def test_an_unknown_profile_is_refused() -> None:
    assert refused(FILL, profile=77).violations[0].field == "profile"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 1e9])
@pytest.mark.parametrize("field", ["guidance_scale", "strength", "negative_scale"])
def test_no_number_outside_its_range_passes(field: str, value: float) -> None:
    error = refused(FILL, negative_prompt="x", **{field: value})
    assert isinstance(error, InvalidArgument)
    assert error.violations[0].field == field


@pytest.mark.parametrize(("experiment", "feature"), FEATURES)
def test_every_accepted_field_is_described_and_every_described_one_exists(experiment: str, feature: str) -> None:
    names = [spec.name for spec in parameter_specs.specs(feature_of(experiment, feature))]
    assert len(set(names)) == len(names)
    for name in names:
        message, _, inner = name.partition(".")
        described = edit_pb2.EditRequest.DESCRIPTOR.fields_by_name[message]
        assert not inner or inner in described.message_type.fields_by_name
    for field, value in (
        ("reference_images", [b"x"]),
        ("outpaint", edit_pb2.Outpaint(left=1)),
    ):
        fields = {field: value} | ({} if "prompt" in names else {"prompt": ""})
        if field not in names:
            assert refused(feature_of(experiment, feature), **fields).violations[0].field == field
        else:
            resolved(feature_of(experiment, feature), **fields)


def test_a_feature_that_only_cuts_out_refuses_a_prompt_and_everything_that_paints() -> None:
    cut_out = feature_of("ben2", "background_removal")
    fields = {"prompt": "a gym", "steps": 20, "seed": 1, "strength": 0.5, "mask_image": b"x", "background": 1}
    assert {fault.field for fault in refused(cut_out, **fields).violations} == set(fields)
    assert parameters.resolve_parameters(edit_pb2.EditRequest(), cut_out).seed == 0


def test_what_the_chain_fixes_takes_the_place_of_the_requests(tmp_path: Path) -> None:
    path = tmp_path / "fixed.yaml"
    path.write_text(
        """
experiments:
  - id: e
    name: E
    models: [{model_id: m}]
    features:
      - id: f
        name: F
        stages:
          - extend
          - fill: {prompt: more of the same, steps: 8, strength: 1.0}
          - composite
          - qwen_edit: {guidance_scale: 1.0}
          - composite
        parameters:
          steps: {default: 20, min: 10, max: 50}
          guidance_scale: {default: 3.5, min: 1, max: 15}
          strength: {default: 0.5, min: 0, max: 1}
""",
        encoding="utf-8",
    )
    feature = experiments.load_catalogue(path).experiments[0].features[0]
    found = resolved(feature, prompt="a gym on the left", negative_prompt="blurry", steps=30)
    fill, qwen_edit = (found.at(stage) for stage in feature.paint_stages)
    assert (fill.prompt, fill.negative_prompt) == ("more of the same", None)
    assert (fill.steps, fill.guidance_scale, fill.strength) == (8, 3.5, 1.0)
    assert (qwen_edit.prompt, qwen_edit.steps, qwen_edit.steps_run) == ("a gym on the left", 30, 15)
    assert qwen_edit.guidance_scale == 1.0
    assert qwen_edit.negative_prompt is None  # at a guidance of 1 nobody looks at it


def test_a_chain_that_fixes_every_number_takes_none_from_the_request(tmp_path: Path) -> None:
    path = tmp_path / "fixed.yaml"
    path.write_text(
        """
experiments:
  - id: e
    name: E
    models: [{model_id: m}]
    features:
      - id: f
        name: F
        stages: [qwen_edit: {steps: 8, guidance_scale: 2.0, strength: 1.0}, composite]
""",
        encoding="utf-8",
    )
    feature = experiments.load_catalogue(path).experiments[0].features[0]
    found = resolved(feature, prompt="a gym").at(feature.paint_stages[0])
    assert (found.steps, found.guidance_scale, found.strength) == (8, 2.0, 1.0)
    assert found.negative_prompt == "blurry, low quality, distorted, ugly, deformed"
    assert refused(feature, steps=20).violations[0].field == "steps"


def test_all_faults_of_a_request_are_told_at_once() -> None:
    fields = {"steps": 9, "guidance_scale": 99, "strength": 3, "background": "BACKGROUND_KEEP", "negative_scale": 2}
    error = refused(FILL, **fields)
    assert type(error) is InvalidArgument
    told = {fault.field: fault.description for fault in error.violations}
    assert told == {
        "background": "the feature inpainting has no use for it; leave it out",
        "negative_scale": "has no effect without negative_prompt; leave it out",
        "steps": "must be 10 to 50, is 9",
        "guidance_scale": "must be 1 to 15, is 99",
        "strength": "must be 0 to 1, is 3",
    }
    assert error.message == "; ".join(f"{field}: {text}" for field, text in told.items())
    assert "guidance_scale 값은 1~15" in error.korean
    assert "strength 값은 0~1" in error.korean


def test_a_single_fault_keeps_its_own_class_and_words() -> None:
    error = refused(feature_of("ben2_flux_fill", "outpainting"), prompt=" ")
    assert type(error) is PromptRejected
    assert [fault.field for fault in error.violations] == ["prompt"]
