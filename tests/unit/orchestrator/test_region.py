"""Mask options and backgrounds of a request: defaults, rejections, and reports."""

from __future__ import annotations

import math

import pytest

from imgedit.errors import InvalidArgument
from imgedit.v1 import edit_pb2
from services.orchestrator.catalogue import models
from services.orchestrator.catalogue.models import SHIPPED, Feature
from services.orchestrator.imaging.masks import MaskOptions
from services.orchestrator.listing import parameter_specs
from services.orchestrator.request import mask_parameters, parameters
from services.orchestrator.request.mask_parameters import Region
from services.orchestrator.request.parameters import EditParameters

CATALOGUE = models.load(SHIPPED)
INPAINTING = CATALOGUE.find("ben2_flux_fill", "inpainting")[1]
OUTPAINTING = CATALOGUE.find("ben2_flux_fill", "outpainting")[1]
APPEARANCE = CATALOGUE.find("ben2_qwen_image", "appearance_editing")[1]
SEMANTIC = CATALOGUE.find("ben2_qwen_image", "semantic_editing")[1]
QWEN = [
    ("appearance_editing", "keep"),
    ("text_editing", "keep"),
    ("semantic_editing", "whole"),
    ("multi_image_editing", "whole"),
]

KEEP, WHOLE = edit_pb2.BACKGROUND_KEEP, edit_pb2.BACKGROUND_WHOLE
REMOVE, TRANSPARENT = edit_pb2.BACKGROUND_REMOVE, edit_pb2.BACKGROUND_TRANSPARENT


def resolved(feature: Feature, **fields: object) -> EditParameters:
    return parameters.resolve(edit_pb2.EditRequest(**{"prompt": "a gym", **fields}), feature)  # type: ignore[arg-type]


def options_of(found: Region) -> MaskOptions:
    [use] = found.masks
    return use.options


def refused_field(feature: Feature, **fields: object) -> str:
    with pytest.raises(InvalidArgument) as caught:
        resolved(feature, **fields)
    assert caught.value.korean != InvalidArgument.default_korean
    [violation] = caught.value.violations
    return violation.field


def test_unset_options_are_the_features_for_ben2s_mask_and_none_for_a_callers() -> None:
    assert options_of(resolved(INPAINTING).region) == MaskOptions("background")
    assert options_of(resolved(APPEARANCE).region) == MaskOptions("subject", grow_px=16, feather_px=8)
    assert options_of(resolved(APPEARANCE, mask_image=b"x").region) == MaskOptions(None)


def test_every_option_of_a_request_is_used() -> None:
    asked = edit_pb2.MaskOptions(
        subject="MASK_SUBJECT_SUBJECT", invert=True, threshold=0.3, fill_holes=True, grow_px=0, feather_px=256
    )
    used = options_of(resolved(APPEARANCE, mask_options=asked).region)
    assert used == MaskOptions("subject", invert=True, threshold=0.3, fill_holes=True, grow_px=0, feather_px=256)
    assert mask_parameters.message(used) == asked


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 1.5, math.nan, math.inf, -math.inf])
def test_a_threshold_that_is_not_between_0_and_1_is_refused(threshold: float) -> None:
    assert refused_field(INPAINTING, mask_options=edit_pb2.MaskOptions(threshold=threshold)) == "mask_options.threshold"


@pytest.mark.parametrize("name", ["grow_px", "feather_px"])
@pytest.mark.parametrize("value", [-1, 257, 2**31 - 1])
def test_a_length_outside_0_to_256_is_refused(name: str, value: int) -> None:
    assert refused_field(INPAINTING, mask_options=edit_pb2.MaskOptions(**{name: value})) == f"mask_options.{name}"  # type: ignore[arg-type]


def test_unknown_enum_numbers_are_refused() -> None:
    assert refused_field(INPAINTING, mask_options=edit_pb2.MaskOptions(subject=9)) == "mask_options.subject"  # type: ignore[arg-type]
    assert refused_field(APPEARANCE, background=9) == "background"


def test_the_subject_is_not_chosen_of_a_callers_mask() -> None:
    asked = edit_pb2.MaskOptions(subject="MASK_SUBJECT_SUBJECT")
    assert refused_field(INPAINTING, mask_options=asked, mask_image=b"x") == "mask_options.subject"


@pytest.mark.parametrize("field", ["mask_options", "mask_image", "background"])
def test_a_feature_without_a_mask_refuses_it(field: str) -> None:
    value = {"mask_options": edit_pb2.MaskOptions(), "mask_image": b"x", "background": KEEP}[field]
    assert refused_field(OUTPAINTING, prompt="to the left", **{field: value}) == field


def test_the_background_is_no_choice_of_inpainting() -> None:
    assert resolved(INPAINTING).region.background is None
    assert refused_field(INPAINTING, background=WHOLE) == "background"


@pytest.mark.parametrize(("feature", "background"), QWEN)
def test_an_unset_background_is_the_features(feature: str, background: str) -> None:
    found = CATALOGUE.find("ben2_qwen_image", feature)[1]
    assert resolved(found).region.background == background
    spec = next(spec for spec in parameter_specs.specs(found) if spec.name == "background")
    assert spec.default.string_value == f"BACKGROUND_{background.upper()}"
    assert len(spec.choices.names) == 4


@pytest.mark.parametrize(("feature", "_default"), QWEN)
@pytest.mark.parametrize("background", [WHOLE, KEEP, REMOVE, TRANSPARENT])
def test_every_background_is_open_to_every_feature_of_qwen(feature: str, _default: str, background: int) -> None:
    used = resolved(CATALOGUE.find("ben2_qwen_image", feature)[1], background=background).region
    assert mask_parameters.BACKGROUND_NUMBERS[used.background or "whole"] == background
    assert bool(used.masks) == (background != WHOLE)
    assert [use.cuts_out for use in used.masks] == [background in (REMOVE, TRANSPARENT)] * len(used.masks)


@pytest.mark.parametrize("background", [REMOVE, TRANSPARENT])
def test_a_cut_out_takes_no_rim_of_the_background_along_unless_it_is_asked_to(background: int) -> None:
    assert options_of(resolved(APPEARANCE, background=background).region) == MaskOptions("subject")
    asked = edit_pb2.MaskOptions(grow_px=3)
    assert options_of(resolved(APPEARANCE, background=background, mask_options=asked).region).grow_px == 3


@pytest.mark.parametrize("field", ["mask_options", "mask_image"])
def test_a_mask_says_that_the_rest_is_kept_where_nothing_else_is_said(field: str) -> None:
    value = {"mask_options": edit_pb2.MaskOptions(invert=True), "mask_image": b"x"}[field]
    found = resolved(SEMANTIC, **{field: value}).region
    assert found.background == "keep"
    assert found.masks


@pytest.mark.parametrize("field", ["mask_options", "mask_image"])
def test_a_mask_is_refused_where_the_whole_picture_is_the_models(field: str) -> None:
    value = {"mask_options": edit_pb2.MaskOptions(invert=True), "mask_image": b"x"}[field]
    assert refused_field(SEMANTIC, background=WHOLE, **{field: value}) == field
    assert refused_field(APPEARANCE, background=WHOLE, **{field: value}) == field
    assert resolved(SEMANTIC, background=KEEP, **{field: value}).region.masks


def test_a_transparent_jpeg_is_refused_by_request_or_by_the_features_default() -> None:
    jpeg = edit_pb2.OutputOptions(format="OUTPUT_FORMAT_JPEG")
    assert refused_field(SEMANTIC, background=TRANSPARENT, output=jpeg) == "output.format"
    stages = tuple(
        stage.model_copy(update={"background": "transparent"}) if stage.kind == "qwen_edit" else stage
        for stage in SEMANTIC.stages
    )
    by_default = Feature(id="x", name="x", stages=stages, parameters=SEMANTIC.parameters)
    assert refused_field(by_default, output=jpeg) == "output.format"


def test_the_form_lists_every_mask_option_with_its_default() -> None:
    specs = {spec.name: spec for spec in parameter_specs.specs(APPEARANCE)}
    assert {f"mask_options.{field.name}" for field in edit_pb2.MaskOptions.DESCRIPTOR.fields} <= set(specs)
    assert specs["mask_options.grow_px"].default.number_value == 16
    assert specs["mask_options.subject"].default.string_value == "MASK_SUBJECT_SUBJECT"
    for name in ("mask_options.threshold", "mask_options.grow_px", "mask_options.feather_px"):
        for value in (specs[name].range.min, specs[name].range.max):
            field = name.removeprefix("mask_options.")
            number = value if field == "threshold" else int(value)
            resolved(APPEARANCE, mask_options=edit_pb2.MaskOptions(**{field: number}))  # type: ignore[arg-type]
