"""A feature's defaults, margins and mask options for unset fields of a request."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgedit.errors import ImgeditError, SettingsError
from imgedit.v1 import edit_pb2, profile_pb2
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import Feature
from services.orchestrator.listing import parameter_specs
from services.orchestrator.request import parameters
from services.orchestrator.request.margins import Margins
from services.orchestrator.request.parameters import EditParameters

FILE = """
experiments:
  - id: own
    name: Own
    models: [{{model_id: any}}]
    features:
      - id: feature
        name: Feature
        stages: {stages}
        parameters:
          steps: {{default: 20, min: 1, max: 50}}
          guidance_scale: {{default: 3, min: 1, max: 15}}
          strength: {{default: 1, min: 0, max: 1}}
        defaults: {defaults}
"""

FILL = "[segment, mask: {choose: background, grow_px: 3}, fill, composite]"
EXTEND = "[extend: {left: 40, bottom: 8}, fill, composite]"
OWN_MASK = "[mask: {choose: subject, own: {invert: true, threshold: 0.3, grow_px: 6, feather_px: 4}}, fill, composite]"


def load(tmp_path: Path, stages: str, defaults: str = "{}") -> Feature:
    path = tmp_path / "own.yaml"
    path.write_text(FILE.format(stages=stages, defaults=defaults), encoding="utf-8")
    return experiments.load_catalogue(path).experiments[0].features[0]


def resolved(feature: Feature, **fields: object) -> EditParameters:
    return parameters.resolve_parameters(edit_pb2.EditRequest(**fields), feature)  # type: ignore[arg-type]


def spec_of(feature: Feature, name: str) -> edit_pb2.ParameterSpec:
    return next(spec for spec in parameter_specs.specs(feature) if spec.name == name)


def test_unset_fields_take_the_features_defaults_and_set_ones_do_not(tmp_path: Path) -> None:
    feature = load(tmp_path, FILL, "{prompt: a bright gym, negative_prompt: blurry, seed: 7, profile: fast}")
    taken = resolved(feature)
    assert (taken.prompt, taken.negative_prompt, taken.seed, taken.profile) == ("a bright gym", "blurry", 7, "fast")
    own = resolved(feature, prompt="snow", negative_prompt="", seed=0, profile=profile_pb2.PROFILE_HIGH)
    assert (own.prompt, own.negative_prompt, own.seed, own.profile) == ("snow", "", 0, "high")


def test_a_default_negative_prompt_may_be_weighed(tmp_path: Path) -> None:
    stages = FILL + "\n        profiles: {fast: {steps: 4}}"
    path = tmp_path / "own.yaml"
    text = FILE.format(stages=stages, defaults="{negative_prompt: blurry}")
    path.write_text(text.replace("strength:", "negative_scale: {default: 2, min: 1, max: 10}\n          strength:"))
    feature = experiments.load_catalogue(path).experiments[0].features[0]
    assert resolved(feature, prompt="a gym").negative_scale == 2
    assert resolved(feature, prompt="a gym", negative_scale=5).negative_scale == 5


def test_the_list_shows_the_defaults_and_asks_for_no_prompt(tmp_path: Path) -> None:
    feature = load(tmp_path, FILL, "{prompt: a bright gym, negative_prompt: blurry, seed: 4294967295, profile: fast}")
    assert not spec_of(feature, "prompt").required
    assert spec_of(feature, "prompt").default.string_value == "a bright gym"
    assert spec_of(feature, "negative_prompt").default.string_value == "blurry"
    assert spec_of(feature, "seed").default.number_value == 4294967295
    assert spec_of(feature, "profile").default.string_value == "PROFILE_FAST"
    plain = load(tmp_path, FILL)
    assert spec_of(plain, "prompt").required
    assert not spec_of(plain, "seed").HasField("default")
    assert spec_of(plain, "profile").default.string_value == "PROFILE_BALANCED"


def test_margins_of_the_stage_hold_where_the_request_names_none(tmp_path: Path) -> None:
    feature = load(tmp_path, EXTEND)
    extension = resolved(feature, prompt="more of it on the right").extension
    assert extension is not None
    assert extension.margins == Margins(left=40, bottom=8)
    asked = resolved(feature, prompt="more", outpaint=edit_pb2.Outpaint(top=5)).extension
    assert asked is not None
    assert asked.margins == Margins(top=5)
    shown = spec_of(feature, "outpaint").default.struct_value
    assert dict(shown) == {"left": 40, "right": 0, "top": 0, "bottom": 8}
    by_words = load(tmp_path, "[extend, fill, composite]")
    assert not spec_of(by_words, "outpaint").HasField("default")
    with pytest.raises(ImgeditError, match="say where to extend"):
        resolved(by_words, prompt="more")


def test_the_callers_mask_is_worked_on_as_the_stage_says(tmp_path: Path) -> None:
    feature = load(tmp_path, OWN_MASK)
    [use] = resolved(feature, prompt="x", mask_image=b"x").region.masks
    found = use.options
    assert (found.invert, found.threshold, found.grow_px, found.feather_px) == (True, 0.3, 6, 4)
    asked = edit_pb2.MaskOptions(invert=True, grow_px=0)
    [use] = resolved(feature, prompt="x", mask_image=b"x", mask_options=asked).region.masks
    assert (use.options.invert, use.options.grow_px, use.options.feather_px) == (False, 0, 4)
    assert spec_of(feature, "mask_options.grow_px").default.number_value == 6


def test_options_for_the_callers_mask_do_not_touch_ben2s(tmp_path: Path) -> None:
    feature = load(tmp_path, FILL.replace("grow_px: 3", "grow_px: 3, own: {grow_px: 9}"))
    assert resolved(feature, prompt="x").region.masks[0].options.grow_px == 3
    assert resolved(feature, prompt="x", mask_image=b"x").region.masks[0].options.grow_px == 9
    assert spec_of(feature, "mask_options.grow_px").default.number_value == 3


@pytest.mark.parametrize(
    ("defaults", "said"),
    [
        ("{seed: 4294967296}", "defaults.seed: Input should be less than or equal to 4294967295"),
        ("{prompt: '\u200b'}", "defaults.prompt: is blank"),
        ("{profile: slow}", "defaults.profile: Input should be 'fast', 'balanced' or 'high'"),
        ("{steps: 3}", "defaults.steps: there is no such key; did you mean"),
    ],
)
def test_a_bad_default_is_refused_by_its_field(tmp_path: Path, defaults: str, said: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, FILL, defaults)
    assert said.partition("; did you")[0] in str(caught.value)


def test_a_chain_that_reads_no_prompt_takes_no_default_prompt(tmp_path: Path) -> None:
    path = tmp_path / "cut.yaml"
    head = "experiments: [{id: a, name: a, models: [{model_id: BEN2}], features: [{id: b, name: b, stages: [segment], "
    for field in ("prompt: x", "seed: 1"):
        path.write_text(f"{head}defaults: {{{field}}}}}]}}]")
        with pytest.raises(SettingsError, match=r"no stage .*leave it out"):
            experiments.load_catalogue(path)
