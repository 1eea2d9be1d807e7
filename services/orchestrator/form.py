"""The parameters of a feature described for forms: type, range, default and help in Korean and English.

What ListExperiments returns. Takes every range and default from the catalogue.
"""

from __future__ import annotations

from collections.abc import Iterator

from google.protobuf.struct_pb2 import Value

from imgedit.v1 import edit_pb2, profile_pb2
from services.common import checks
from services.orchestrator.catalogue import (
    ExtendStage,
    Feature,
    MaskStage,
    NumberRange,
    SegmentStage,
)
from services.orchestrator.parameters import (
    MAX_MARGIN_PX,
    MAX_PREVIEW_EVERY,
    MAX_SEED,
    PROFILE_NUMBERS,
    automatic_negative_prompt,
    max_references,
    optional_fields,
    ranges,
)


def specs(feature: Feature) -> list[edit_pb2.ParameterSpec]:
    """The parameters that the feature takes, with all that a form needs."""
    used = optional_fields(feature)
    found = [*_general_specs(feature), *_picture_specs(feature)]
    return [spec for spec in found if used.get(spec.name, True)]


def _general_specs(feature: Feature) -> Iterator[edit_pb2.ParameterSpec]:
    yield _spec("input_image", edit_pb2.PARAMETER_TYPE_IMAGE, required=True, min=1, max=1)
    yield _spec("prompt", edit_pb2.PARAMETER_TYPE_TEXT, required=True, min=1, max=checks.MAX_PROMPT_CHARACTERS)
    automatic = automatic_negative_prompt(feature.painter)
    yield _spec(
        "negative_prompt",
        edit_pb2.PARAMETER_TYPE_TEXT,
        default=_text_value(automatic) if automatic is not None else None,
        min=0,
        max=checks.MAX_PROMPT_CHARACTERS,
    )
    yield from (_number_spec(name, limits) for name, limits in ranges(feature))
    yield _choice("profile", "PROFILE_BALANCED", [profile_pb2.Profile.Name(n) for n in PROFILE_NUMBERS.values()])
    yield _spec("seed", edit_pb2.PARAMETER_TYPE_INTEGER, min=0, max=MAX_SEED)
    yield _spec("preview_every", edit_pb2.PARAMETER_TYPE_INTEGER, min=0, max=MAX_PREVIEW_EVERY)
    if feature.has(MaskStage) or feature.has(ExtendStage):
        yield _choice("postprocess", "POSTPROCESS_ON", ["POSTPROCESS_ON", "POSTPROCESS_OFF"])
    yield _spec("output", edit_pb2.PARAMETER_TYPE_MESSAGE, min=0, max=1)


def _picture_specs(feature: Feature) -> Iterator[edit_pb2.ParameterSpec]:
    needs_mask = not feature.has(SegmentStage)
    yield _spec("mask_image", edit_pb2.PARAMETER_TYPE_IMAGE, required=needs_mask, min=int(needs_mask), max=1)
    yield _spec("outpaint", edit_pb2.PARAMETER_TYPE_MESSAGE, min=0, max=MAX_MARGIN_PX)
    yield _spec("reference_images", edit_pb2.PARAMETER_TYPE_IMAGE, min=0, max=max_references(feature))


def _choice(name: str, default: str, choices: list[str]) -> edit_pb2.ParameterSpec:
    spec = _spec(name, edit_pb2.PARAMETER_TYPE_ENUM, min=0, max=1, default=_text_value(default))
    spec.choices.extend(choices)
    return spec


def _number_spec(name: str, limits: NumberRange) -> edit_pb2.ParameterSpec:
    kind = edit_pb2.PARAMETER_TYPE_INTEGER if name == "steps" else edit_pb2.PARAMETER_TYPE_NUMBER
    spec = _spec(name, kind, default=Value(number_value=limits.default), min=limits.min, max=limits.max)
    if limits.recommended is not None:
        spec.recommended_min, spec.recommended_max = limits.recommended
    return spec


def _spec(
    name: str,
    kind: edit_pb2.ParameterType,
    *,
    min: float,
    max: float,
    required: bool = False,
    default: Value | None = None,
) -> edit_pb2.ParameterSpec:
    korean, english = _HELP[name]
    return edit_pb2.ParameterSpec(
        name=name, type=kind, required=required, default=default, min=min, max=max, help_ko=korean, help_en=english
    )


def _text_value(text: str) -> Value:
    return Value(string_value=text)


_HELP = {
    "input_image": ("편집할 이미지(PNG, JPG, WebP)", "The picture to edit (PNG, JPEG or WebP)."),
    "prompt": (
        "원하는 편집 내용. 구체적으로, 대상과 스타일을 함께 쓰세요.",
        "What to do. Be specific; name the object and the style.",
    ),
    "negative_prompt": ("피하고 싶은 내용", "What to avoid."),
    "steps": (
        "추론 단계. 10-15 빠른 테스트, 20-30 일반 편집, 35-50 고품질.",
        "Denoise steps. 10-15 for a quick test, 20-30 for most edits, 35-50 for high quality.",
    ),
    "guidance_scale": (
        "프롬프트 반영 정도. 3.0-5.0 권장, 10 이상은 아티팩트가 생길 수 있습니다.",
        "How strongly the prompt is followed. 3 to 5 is balanced; above 10 artefacts may appear.",
    ),
    "strength": (
        "변화 강도. 0.0-0.3 미세 조정, 0.4-0.7 중간 변화, 0.8-1.0 큰 변화.",
        "How far the result may go from the picture. 0.0-0.3 subtle, 0.4-0.7 medium, 0.8-1.0 large.",
    ),
    "negative_scale": (
        "부정 프롬프트의 세기. 부정 프롬프트를 직접 지정했을 때만 쓰입니다.",
        "Weight of an explicit negative prompt; a second pass per step.",
    ),
    "seed": ("같은 시드는 같은 결과를 냅니다. 비우면 무작위.", "The same seed gives the same result. Unset = random."),
    "profile": (
        "속도와 품질의 균형: FAST 빠름(적은 단계), BALANCED 기본, HIGH 고품질.",
        "Speed against quality: FAST runs few steps, BALANCED the defaults, HIGH more steps.",
    ),
    "postprocess": (
        "후처리: 다시 그린 영역의 색을 주변에 맞춥니다. OFF는 조금 더 빠릅니다.",
        "Match the painted region's tone to its surroundings. OFF is a little faster.",
    ),
    "preview_every": ("몇 단계마다 미리보기를 보낼지. 비우면 보내지 않습니다.", "A preview after every so many steps."),
    "mask_image": (
        "다시 그릴 영역(흰색). 비우면 BEN2가 자동으로 만듭니다.",
        "What to repaint (white). Unset = the mask that BEN2 finds.",
    ),
    "outpaint": (
        "확장할 여백(px) 또는 비율. 비우면 프롬프트의 방향을 나타내는 단어(left, right, top, bottom)를 따릅니다.",
        "Margins in pixels, or an aspect. Unset = the direction word in the prompt (left, right, top, bottom).",
    ),
    "output": (
        "결과 형식(PNG, JPEG, WebP)과 품질, 생략할 이미지. 비우면 PNG로 모두 보냅니다.",
        "File format (PNG, JPEG, WebP) and quality of the result, and pictures to leave out. Unset = PNG, all of them.",
    ),
    "reference_images": ("참조 이미지(2장까지)", "Reference pictures, up to 2."),
}
