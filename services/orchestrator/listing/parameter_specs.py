"""Descriptions of a feature's parameters for forms.

Type, range, default and help in Korean and English, from the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.struct_pb2 import Value

from imgedit.v1 import edit_pb2, profile_pb2
from services.common import checks
from services.orchestrator.catalogue.experiments import (
    MAX_MASK_PX,
    MAX_SEED,
    ExtendStage,
    Feature,
    MaskStage,
    NumberRange,
    SegmentStage,
)
from services.orchestrator.request import mask_parameters
from services.orchestrator.request.parameters import (
    MAX_PREVIEW_EVERY,
    MAX_RESULTS,
    PROFILE_NUMBERS,
    automatic_negative_prompt,
    max_references,
    optional_fields,
    ranges,
)


def specs(feature: Feature) -> list[edit_pb2.ParameterSpec]:
    """The parameters of the feature with all form data."""
    used = optional_fields(feature)
    found = [*_general_specs(feature), *_image_specs(feature)]
    return [spec for spec in found if used.get(spec.name, True)]


def _general_specs(feature: Feature) -> Iterator[edit_pb2.ParameterSpec]:
    yield _spec("input_image", edit_pb2.PARAMETER_TYPE_IMAGE, required=True, count=_count(1, 1))
    own = feature.defaults
    prompt = _text_value(own.prompt) if own.prompt is not None else None
    yield _spec("prompt", edit_pb2.PARAMETER_TYPE_TEXT, required=prompt is None, default=prompt, length=_length(1))
    yield _switch("expand_prompt")
    automatic = own.negative_prompt
    if automatic is None:
        automatic = automatic_negative_prompt(feature.prompt_stage)
    yield _spec(
        "negative_prompt",
        edit_pb2.PARAMETER_TYPE_TEXT,
        default=_text_value(automatic) if automatic is not None else None,
        length=_length(0),
    )
    yield from (_number_spec(name, limits) for name, limits in ranges(feature))
    profiles = {name: profile_pb2.Profile.Name(number) for name, number in PROFILE_NUMBERS.items()}
    yield _choice("profile", profiles[own.profile or "balanced"], [*profiles.values()])
    yield _integer("seed", MAX_SEED, default=own.seed)
    yield _spec(
        "n",
        edit_pb2.PARAMETER_TYPE_INTEGER,
        default=_number(1),
        range=edit_pb2.NumberRange(min=1, max=MAX_RESULTS),
    )
    yield _integer("preview_every", MAX_PREVIEW_EVERY)
    if feature.has(MaskStage) or feature.has(ExtendStage) or feature.has(SegmentStage):
        yield _choice("postprocess", "POSTPROCESS_ON", ["POSTPROCESS_ON", "POSTPROCESS_OFF"])
    yield _spec("output", edit_pb2.PARAMETER_TYPE_MESSAGE)


def _image_specs(feature: Feature) -> Iterator[edit_pb2.ParameterSpec]:
    image, needs_mask = edit_pb2.PARAMETER_TYPE_IMAGE, not feature.has(SegmentStage)
    yield _spec("mask_image", image, required=needs_mask, count=_count(int(needs_mask), 1))
    yield from _mask_specs(feature)
    if mask_parameters.takes_background(feature):
        yield _background_spec(feature)
    yield _spec("outpaint", edit_pb2.PARAMETER_TYPE_MESSAGE, default=_margins(feature))
    yield _spec("reference_images", image, count=_count(0, max_references(feature)))


def _mask_specs(feature: Feature) -> list[edit_pb2.ParameterSpec]:
    """The mask options, with the defaults for BEN2's mask."""
    stage = next((stage for stage in feature.stages if isinstance(stage, MaskStage)), None)
    if stage is None:
        return []
    default = mask_parameters.defaults_of(stage, is_own=not feature.has(SegmentStage))
    subjects = {name: edit_pb2.MaskSubject.Name(number) for name, number in mask_parameters.SUBJECT_NUMBERS.items()}
    subject = _choice("mask_options.subject", subjects[stage.choose], [*subjects.values()])
    return [
        *([subject] if feature.has(SegmentStage) else []),
        _switch("mask_options.invert"),
        _spec(
            "mask_options.threshold",
            edit_pb2.PARAMETER_TYPE_NUMBER,
            default=_number(default.threshold),
            range=edit_pb2.NumberRange(min=0.01, max=0.99),  # 0 and 1 themselves are refused
        ),
        _switch("mask_options.fill_holes"),
        _integer("mask_options.grow_px", MAX_MASK_PX, default=default.grow_px),
        _integer("mask_options.feather_px", MAX_MASK_PX, default=default.feather_px),
    ]


def _margins(feature: Feature) -> Value | None:
    """The margins that the feature adds where the request names none, by side."""
    stage = next((stage for stage in feature.stages if isinstance(stage, ExtendStage)), None)
    if stage is None or not any(stage.margins.values()):
        return None
    found = Value()
    found.struct_value.update(stage.margins)
    return found


def _background_spec(feature: Feature) -> edit_pb2.ParameterSpec:
    names = {name: edit_pb2.Background.Name(number) for name, number in mask_parameters.BACKGROUND_NUMBERS.items()}
    return _choice("background", names[mask_parameters.default_background(feature)], [*names.values()])


def _choice(name: str, default: str, names: list[str]) -> edit_pb2.ParameterSpec:
    choices = edit_pb2.Choices(names=names)
    return _spec(name, edit_pb2.PARAMETER_TYPE_ENUM, default=_text_value(default), choices=choices)


def _switch(name: str) -> edit_pb2.ParameterSpec:
    return _spec(name, edit_pb2.PARAMETER_TYPE_BOOLEAN, default=Value(bool_value=False))


def _integer(name: str, max: int, *, default: int | None = None) -> edit_pb2.ParameterSpec:
    """A whole number from 0."""
    return _spec(
        name,
        edit_pb2.PARAMETER_TYPE_INTEGER,
        default=None if default is None else _number(default),
        range=edit_pb2.NumberRange(min=0, max=max),
    )


def _number_spec(name: str, limits: NumberRange) -> edit_pb2.ParameterSpec:
    kind = edit_pb2.PARAMETER_TYPE_INTEGER if name == "steps" else edit_pb2.PARAMETER_TYPE_NUMBER
    low, high = limits.recommended or (None, None)
    accepted = edit_pb2.NumberRange(min=limits.min, max=limits.max, recommended_min=low, recommended_max=high)
    return _spec(name, kind, default=_number(limits.default), range=accepted)


def _number(number: float) -> Value:
    return Value(number_value=number)


def _length(min: int) -> edit_pb2.TextLength:
    return edit_pb2.TextLength(min=min, max=checks.MAX_PROMPT_CHARACTERS)


def _count(min: int, max: int) -> edit_pb2.PictureCount:
    return edit_pb2.PictureCount(min=min, max=max)


def _spec(
    name: str,
    kind: edit_pb2.ParameterType,
    *,
    required: bool = False,
    default: Value | None = None,
    range: edit_pb2.NumberRange | None = None,
    length: edit_pb2.TextLength | None = None,
    count: edit_pb2.PictureCount | None = None,
    choices: edit_pb2.Choices | None = None,
) -> edit_pb2.ParameterSpec:
    """At most one constraint: the one that fits the type."""
    korean, english = _HELP[name]
    return edit_pb2.ParameterSpec(
        name=name,
        type=kind,
        required=required,
        default=default,
        range=range,
        length=length,
        count=count,
        choices=choices,
        help={"ko": korean, "en": english},
    )


def _text_value(text: str) -> Value:
    return Value(string_value=text)


_HELP = {
    "input_image": ("편집할 이미지(PNG, JPG, WebP)", "The image to edit (PNG, JPEG or WebP)."),
    "prompt": (
        "원하는 편집 내용. 구체적으로, 대상과 스타일을 함께 쓰세요.",
        "The edit. Be specific; name the object and the style.",
    ),
    "expand_prompt": (
        "짧은 프롬프트를 자세히 다시 씁니다(대상, 스타일, 조명). 결과는 영어입니다.",
        "Expand the prompt first: object, place and style in detail. The result is English.",
    ),
    "negative_prompt": ("피하고 싶은 내용", "Things to avoid."),
    "steps": (
        "스텝 수. 10-15 빠른 테스트, 20-30 일반 편집, 35-50 고품질.",
        "Denoise steps. 10-15 for a quick test, 20-30 for most edits, 35-50 for high quality.",
    ),
    "guidance_scale": (
        "프롬프트 반영 정도. 3.0-5.0 권장, 10 이상은 아티팩트가 생길 수 있습니다.",
        "How strongly the model follows the prompt. 3 to 5 is balanced; above 10 artefacts may appear.",
    ),
    "strength": (
        "변화 강도. 0.0-0.3 미세 조정, 0.4-0.7 중간 변화, 0.8-1.0 큰 변화.",
        "How far the result may differ from the image. 0.0-0.3 subtle, 0.4-0.7 medium, 0.8-1.0 large.",
    ),
    "negative_scale": (
        "부정 프롬프트의 세기. 부정 프롬프트를 직접 지정했을 때만 쓰입니다.",
        "Weight of an explicit negative prompt. Adds a second pass per step.",
    ),
    "seed": (
        "같은 시드는 같은 결과를 냅니다. '무작위'를 고르면 매번 달라집니다.",
        "The same seed gives the same result. Unset = random.",
    ),
    "profile": (
        "빠름(FAST)은 스텝 수가 적고, 균형(BALANCED)이 기본, 고품질(HIGH)은 가장 느립니다.",
        "Speed or quality: FAST runs few steps, BALANCED the default, HIGH more steps.",
    ),
    "postprocess": (
        "후처리: 인물 가장자리의 색을 다듬고 다시 그린 영역의 색을 주변에 맞춥니다. OFF는 조금 더 빠릅니다.",
        "Refine the subject's edge colours and match the painted region's tone to its surroundings. OFF is faster.",
    ),
    "n": (
        "한 번에 만들 결과의 수. 시드는 하나씩 커집니다.",
        "Results to make, with the seeds seed, seed + 1 and so on.",
    ),
    "preview_every": ("몇 스텝마다 미리보기를 보낼지. 비우면 보내지 않습니다.", "Steps between previews."),
    "mask_image": (
        "다시 그릴 영역(흰색). 비우면 BEN2가 자동으로 만듭니다.",
        "The region to repaint (white). Unset = BEN2's mask.",
    ),
    "mask_options.subject": ("BEN2 마스크에서 바꿀 부분: 인물 또는 배경", "The part of BEN2's mask to repaint."),
    "mask_options.invert": ("마스크의 흰색과 검은색을 바꿉니다.", "Swap white and black."),
    "mask_options.threshold": (
        "마스크로 볼 기준값(0과 1 사이). 낮을수록 넓어집니다.",
        "The level, between 0 and 1, that becomes one half. Lower includes more.",
    ),
    "mask_options.fill_holes": ("마스크 안의 검은 구멍을 채웁니다.", "Fill black holes inside the mask."),
    "mask_options.grow_px": (
        "마스크를 넓힐 픽셀 수. 직접 올린 마스크의 기본값은 0.",
        "Pixels to grow the mask by. 0 for your own mask.",
    ),
    "mask_options.feather_px": (
        "마스크 가장자리를 안쪽으로 부드럽게 할 픽셀 수. 직접 올린 마스크의 기본값은 0.",
        "Width in pixels of the soft inner edge. 0 for your own mask.",
    ),
    "background": (
        "인물 주변: WHOLE 이미지 전체를 편집, KEEP 배경 유지, REMOVE 흰 배경, TRANSPARENT 투명 배경",
        "Around the subject: WHOLE = edited too, KEEP = unchanged, REMOVE = plain white, TRANSPARENT = cut out.",
    ),
    "outpaint": (
        "확장할 여백(px) 또는 비율. 비우면 프롬프트의 방향(왼쪽, 오른쪽, 위쪽, 아래쪽, 양옆, 사방)을 따릅니다.",
        "Margins in pixels, or an aspect. Unset = the prompt's direction words (left, top, both sides, all sides …).",
    ),
    "output": (
        "결과 형식(PNG, JPEG, WebP)과 품질, 생략할 이미지. 비우면 PNG로 모두 보냅니다.",
        "Format (PNG, JPEG, WebP) and quality of the result, and images to omit. Unset = PNG, all images.",
    ),
    "reference_images": ("참조 이미지(2장까지)", "Reference images, up to 2."),
}
