"""The editable region: `mask_options` and `background`, checked, with defaults."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from imgedit.errors import InvalidArgument
from imgedit.v1 import edit_pb2
from services.common import checks
from services.orchestrator.catalogue.experiments import (
    MAX_MASK_PX,
    Background,
    Feature,
    MaskStage,
    OwnMask,
    QwenEditStage,
    Stage,
)
from services.orchestrator.imaging.masks import MaskOptions, MaskSubject

BACKGROUND_NUMBERS: dict[Background, edit_pb2.Background] = {
    "whole": edit_pb2.BACKGROUND_WHOLE,
    "keep": edit_pb2.BACKGROUND_KEEP,
    "remove": edit_pb2.BACKGROUND_REMOVE,
    "transparent": edit_pb2.BACKGROUND_TRANSPARENT,
}
SUBJECT_NUMBERS: dict[MaskSubject, edit_pb2.MaskSubject] = {
    "subject": edit_pb2.MASK_SUBJECT_SUBJECT,
    "background": edit_pb2.MASK_SUBJECT_BACKGROUND,
}


@dataclass(frozen=True)
class MaskUse:
    """The options of a mask stage.

    cuts_out: the model gets the cut-out on a plain ground; else the mask is the composite's alpha.
    """

    stage: MaskStage
    options: MaskOptions
    cuts_out: bool


@dataclass(frozen=True)
class MaskParameters:
    """The editable region.

    background: None = the feature has no such choice. masks: the needed mask stages.
    """

    background: Background | None = None
    masks: tuple[MaskUse, ...] = ()

    def use_of(self, stage: MaskStage) -> MaskUse | None:
        """The options of this stage; None = unused."""
        return next((use for use in self.masks if use.stage is stage), None)


def resolve_masks(request: edit_pb2.EditRequest, feature: Feature) -> MaskParameters:
    """The mask options and the background of a request.

    Raises `InvalidArgument` that names the field.
    """
    chosen = _background(request, feature) if takes_background(feature) else None
    uses: list[MaskUse] = []
    for section in feature.passes:
        background = _background_of(section, feature, chosen)
        if background == "whole":
            continue
        cuts_out = background in ("remove", "transparent")
        stages = [stage for stage in section if isinstance(stage, MaskStage)]
        uses += [MaskUse(stage, _mask_options(request, stage, cuts_out=cuts_out), cuts_out) for stage in stages]
    if not uses:
        _refuse_masks(request)
    return MaskParameters(chosen, tuple(uses))


def takes_background(feature: Feature) -> bool:
    """Whether a request may choose the background.

    Its model edits by instruction, with a mask.
    """
    return any(
        feature.primary_stage in section and _background_of(section, feature, None) for section in feature.passes
    )


def _background_of(section: Sequence[Stage], feature: Feature, chosen: Background | None) -> Background | None:
    """The background mode of one pass.

    None = it has no mask, or no such choice.
    """
    editor = next((stage for stage in section if isinstance(stage, QwenEditStage)), None)
    if editor is None or not any(isinstance(stage, MaskStage) for stage in section):
        return None
    return chosen if chosen and editor is feature.primary_stage else editor.background


def mask_options_message(options: MaskOptions) -> edit_pb2.MaskOptions:
    """The options for `effective`, with every field set.

    A caller's mask has no subject.
    """
    return edit_pb2.MaskOptions(
        subject=SUBJECT_NUMBERS[options.subject] if options.subject else edit_pb2.MASK_SUBJECT_UNSPECIFIED,
        invert=options.invert,
        threshold=options.threshold,
        fill_holes=options.fill_holes,
        grow_px=options.grow_px,
        feather_px=options.feather_px,
    )


def default_background(feature: Feature) -> Background:
    """The default background."""
    return feature.primary_stage.background if isinstance(feature.primary_stage, QwenEditStage) else "whole"


def _background(request: edit_pb2.EditRequest, feature: Feature) -> Background:
    names = {number: name for name, number in BACKGROUND_NUMBERS.items()}
    if request.background in names:
        return names[request.background]
    if request.background != edit_pb2.BACKGROUND_UNSPECIFIED:
        known = ", ".join(edit_pb2.Background.Name(number) for number in names)
        raise InvalidArgument.field(
            "background",
            f"must be one of {known}, is {request.background}",
            korean=f"background 값은 {known} 중 하나여야 합니다.",
        )
    default = default_background(feature)
    has_mask = bool(request.mask_image) or request.HasField("mask_options")
    return "keep" if default == "whole" and has_mask else default  # a caller with a mask wants the rest kept


def _refuse_masks(request: edit_pb2.EditRequest) -> None:
    for name, is_set in (("mask_image", bool(request.mask_image)), ("mask_options", request.HasField("mask_options"))):
        if is_set:
            raise InvalidArgument.field(
                name,
                "has no effect where the whole picture is the model's (BACKGROUND_WHOLE); leave it out, or set "
                "background to BACKGROUND_KEEP",
                korean=f"이미지 전체를 편집할 때(BACKGROUND_WHOLE)는 {name} 값을 쓸 수 없습니다. "
                "값을 비우거나 background를 BACKGROUND_KEEP으로 지정하세요.",
            )


def _mask_options(request: edit_pb2.EditRequest, stage: MaskStage, *, cuts_out: bool) -> MaskOptions:
    """The mask options of a request.

    The feature's growing and feathering are for weights; a cut-out would include a rim of background.
    """
    asked, default = request.mask_options, defaults_of(stage, is_own=bool(request.mask_image))
    return MaskOptions(
        subject=_subject(request, stage),
        invert=asked.invert != default.invert,
        threshold=_threshold(asked, default.threshold),
        fill_holes=asked.fill_holes,
        grow_px=_length(asked, "grow_px", 0 if cuts_out else default.grow_px),
        feather_px=_length(asked, "feather_px", 0 if cuts_out else default.feather_px),
    )


def defaults_of(stage: MaskStage, *, is_own: bool) -> OwnMask:
    """A stage's defaults for the caller's own mask, or for BEN2's."""
    if is_own:
        return stage.own
    return OwnMask(threshold=stage.threshold, grow_px=stage.grow_px, feather_px=stage.feather_px)


def _subject(request: edit_pb2.EditRequest, stage: MaskStage) -> MaskSubject | None:
    names = {number: name for name, number in SUBJECT_NUMBERS.items()}
    asked = request.mask_options.subject
    if asked not in names and asked != edit_pb2.MASK_SUBJECT_UNSPECIFIED:
        known = " or ".join(edit_pb2.MaskSubject.Name(number) for number in names)
        raise InvalidArgument.field(
            "mask_options.subject",
            f"must be {known}, is {asked}",
            korean="mask_options.subject 값은 피사체 또는 배경이어야 합니다.",
        )
    if not request.mask_image:
        return names.get(asked, stage.choose)
    if asked in names:
        raise InvalidArgument.field(
            "mask_options.subject",
            "chooses a part of BEN2's mask, which mask_image replaces; leave one of them out, or use "
            "mask_options.invert",
            korean="mask_image를 지정하면 mask_options.subject를 쓸 수 없습니다. "
            "마스크를 뒤집으려면 mask_options.invert를 사용하세요.",
        )
    return None


def _threshold(asked: edit_pb2.MaskOptions, default: float) -> float:
    if not asked.HasField("threshold"):
        return default
    if math.isfinite(asked.threshold) and 0 < asked.threshold < 1:
        return asked.threshold
    raise InvalidArgument.field(
        "mask_options.threshold",
        f"must be above 0 and below 1, is {asked.threshold:g}",
        korean=f"mask_options.threshold 값은 0보다 크고 1보다 작아야 합니다(받은 값: {asked.threshold:g}).",
    )


def _length(asked: edit_pb2.MaskOptions, name: str, default: int) -> int:
    if not asked.HasField(name):
        return default
    value: int = getattr(asked, name)
    checks.number(f"mask_options.{name}", value, 0, MAX_MASK_PX)
    return value
