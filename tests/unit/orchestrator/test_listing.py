"""ListExperiments: form data in Korean and English, and availability."""

from __future__ import annotations

import re

import pytest

from imgedit.v1 import edit_pb2
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import SHIPPED, Feature
from services.orchestrator.listing import availability, parameter_specs

CATALOGUE = experiments.load_catalogue(SHIPPED)
FEATURES = [feature for experiment in CATALOGUE.experiments for feature in experiment.features]

GENERAL = {"experiment_id", "feature_id", "request_id", "webhook_url"}
"""The fields of EditRequest that are no parameters of a feature."""

HANGUL = re.compile("[가-힣]")


def test_every_field_of_a_request_is_described_by_some_feature_or_is_general() -> None:
    described = {spec.name.partition(".")[0] for feature in FEATURES for spec in parameter_specs.specs(feature)}
    described |= {spec.name.partition(".")[0] for spec in parameter_specs.specs(FEATURES[0], has_loras=True)}
    assert described | GENERAL == set(edit_pb2.EditRequest.DESCRIPTOR.fields_by_name)


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.id)
def test_every_parameter_has_help_in_both_languages(feature: Feature) -> None:
    for spec in parameter_specs.specs(feature, has_loras=bool(feature.paint_stages)):
        assert set(spec.help) == {"ko", "en"}, spec.name
        assert HANGUL.search(spec.help["ko"]), spec.name
        assert spec.help["en"], spec.name
        assert not HANGUL.search(spec.help["en"]), spec.name


CONSTRAINTS = {
    edit_pb2.PARAMETER_TYPE_INTEGER: "range",
    edit_pb2.PARAMETER_TYPE_NUMBER: "range",
    edit_pb2.PARAMETER_TYPE_TEXT: "length",
    edit_pb2.PARAMETER_TYPE_IMAGE: "count",
    edit_pb2.PARAMETER_TYPE_ENUM: "choices",
    edit_pb2.PARAMETER_TYPE_MESSAGE: None,
    edit_pb2.PARAMETER_TYPE_BOOLEAN: None,
}


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.id)
def test_every_parameter_has_the_constraint_of_its_type_and_a_default_within_it(feature: Feature) -> None:
    for spec in parameter_specs.specs(feature):
        kind = spec.WhichOneof("constraint")
        assert kind == CONSTRAINTS[spec.type], spec.name
        if kind == "choices":
            assert spec.default.string_value in spec.choices.names
        elif kind is not None:
            limits = getattr(spec, kind)
            assert limits.min <= limits.max, spec.name
            assert kind != "range" or limits.min <= spec.default.number_value <= limits.max, spec.name


def test_recommended_ranges_are_the_guides() -> None:
    recommended = {
        feature.id: tuple(
            (spec.range.recommended_min, spec.range.recommended_max)
            for spec in parameter_specs.specs(feature)
            if spec.name in ("steps", "guidance_scale", "strength") and spec.range.HasField("recommended_min")
        )
        for feature in FEATURES
    }
    assert recommended == {
        "inpainting": ((28, 28), (3.5, 3.5), (0.8, 1.0)),
        "outpainting": ((28, 40), (3.5, 5.0), (0.9, 1.0)),
        "appearance_editing": ((20, 30), (2.0, 5.0), (0.6, 0.8)),
        "semantic_editing": ((25, 35), (3.0, 7.0), (0.7, 0.9)),
        "text_editing": ((20, 30), (3.0, 5.0), (0.5, 0.7)),
        "multi_image_editing": (),
        "background_removal": (),
    }


def test_a_feature_needs_the_services_without_which_its_defaults_fail() -> None:
    assert {feature.id: availability.needs(feature) for feature in FEATURES} == {
        "inpainting": ["segmentation", "fill"],
        "outpainting": ["fill"],
        "appearance_editing": ["segmentation", "qwen_edit"],
        "semantic_editing": ["qwen_edit"],
        "text_editing": ["segmentation", "qwen_edit"],
        "multi_image_editing": ["qwen_edit"],
        "background_removal": ["segmentation"],
    }
