"""The parameters of one edit: checked against the catalogue, defaults filled in, and described for forms.

The edge between EditRequest and the stages, which see `EditParameters` only. Knows nothing of pictures' content.
"""

from __future__ import annotations

import re
import secrets
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from google.protobuf.struct_pb2 import Value

from imgedit.errors import InvalidArgument, PromptLanguageUnsupported, Violation
from imgedit.v1 import edit_pb2, profile_pb2
from services.common import checks
from services.common.interceptors import REQUEST_ID_PATTERN
from services.orchestrator.catalogue import (
    PROMPT_LANGUAGES,
    ExtendStage,
    Feature,
    FillStage,
    MaskStage,
    NumberRange,
    QwenEditStage,
    SegmentStage,
)

MAX_MARGIN_PX = 4096
MAX_PREVIEW_EVERY = 100
MAX_SEED = 2**32 - 1

ProfileName = Literal["fast", "balanced", "high"]

PROFILE_NUMBERS: dict[ProfileName, profile_pb2.Profile] = {
    "fast": profile_pb2.PROFILE_FAST,
    "balanced": profile_pb2.PROFILE_BALANCED,
    "high": profile_pb2.PROFILE_HIGH,
}
_PROFILE_NAMES: dict[int, ProfileName] = {
    profile_pb2.PROFILE_UNSPECIFIED: "balanced",
    **{number: name for name, number in PROFILE_NUMBERS.items()},
}


@dataclass(frozen=True)
class Margins:
    """Pixels to add at each side."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any((self.left, self.right, self.top, self.bottom))


@dataclass(frozen=True)
class EditParameters:
    """What an edit runs with. `negative_prompt` None = none; `margins` None = by the words of the prompt."""

    prompt: str
    negative_prompt: str | None
    negative_scale: float | None
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    margins: Margins | None
    aspect: tuple[int, int] | None
    preview_every: int = 0
    profile: ProfileName = "balanced"
    postprocess: bool = True

    @property
    def steps_run(self) -> int:
        """Denoise steps left after strength has taken its share: of n, int(n − n × strength) are skipped."""
        return self.steps - int(self.steps - self.steps * self.strength)


def resolve(request: edit_pb2.EditRequest, feature: Feature) -> EditParameters:
    """Check every field of a request against the feature, and fill in what it leaves unset.

    Raises `InvalidArgument` (or `PromptRejected`, `PromptLanguageUnsupported`) that names the field.
    """
    _check_request_id(request)
    _check_used(request, feature)
    checks.prompt("prompt", request.prompt)
    checks.prompt("negative_prompt", request.negative_prompt, may_be_blank=True)
    _check_language("prompt", request.prompt, feature)
    _check_language("negative_prompt", request.negative_prompt, feature)
    checks.number("preview_every", request.preview_every, 0, MAX_PREVIEW_EVERY)
    profile = _profile(request)
    preset = getattr(feature.profiles, profile)
    numbers = {name: _number(request, name, limits, getattr(preset, name, None)) for name, limits in _ranges(feature)}
    margins, aspect = _outpaint(request)
    return EditParameters(
        prompt=request.prompt,
        negative_prompt=_negative_prompt(request, feature),
        negative_scale=numbers.get("negative_scale") if request.HasField("negative_prompt") else None,
        steps=int(numbers["steps"]),
        guidance_scale=numbers["guidance_scale"],
        strength=numbers["strength"],
        seed=request.seed if request.HasField("seed") else secrets.randbits(32),
        margins=margins,
        aspect=aspect,
        preview_every=request.preview_every,
        profile=profile,
        postprocess=_postprocess(request),
    )


def _check_request_id(request: edit_pb2.EditRequest) -> None:
    if request.HasField("request_id") and not REQUEST_ID_PATTERN.fullmatch(request.request_id):
        raise InvalidArgument.field("request_id", "must be 1 to 64 letters, digits, '.', '_' or '-'")


def _check_used(request: edit_pb2.EditRequest, feature: Feature) -> None:
    """Refuse a field that the feature has no use for, instead of dropping it."""
    accepted = {spec.name for spec in specs(feature)}
    for name, is_set in (
        ("mask_image", bool(request.mask_image)),
        ("outpaint", request.HasField("outpaint")),
        ("reference_images", bool(request.reference_images)),
        ("negative_scale", request.HasField("negative_scale")),
    ):
        if is_set and name not in accepted:
            raise InvalidArgument.field(
                name,
                f"the feature {feature.id} has no use for it; leave it out",
                korean=f"'{feature.name}' 기능에서는 {name} 값을 쓸 수 없습니다.",
            )
    if request.HasField("negative_scale") and not request.HasField("negative_prompt"):
        raise InvalidArgument.field("negative_scale", "has no effect without negative_prompt; leave it out")
    limit = _max_references(feature)
    if len(request.reference_images) > limit:
        raise InvalidArgument.field(
            "reference_images",
            f"must hold at most {limit} pictures, holds {len(request.reference_images)}",
            korean=f"참조 이미지는 {limit}장까지입니다.",
        )


def _check_language(field: str, text: str, feature: Feature) -> None:
    """Refuse a script that the model's tokenizer has no pieces for: every such word would become <unk>."""
    if PROMPT_LANGUAGES[feature.painter.kind] != ("en",):
        return
    letters = [char for char in unicodedata.normalize("NFKC", text) if char.isalpha()]
    foreign = next((char for char in letters if not unicodedata.name(char, "").startswith("LATIN")), "")
    if not foreign:
        return
    script = unicodedata.name(foreign, "an unknown script").split()[0].capitalize()
    description = f"FLUX.1-Fill reads English only, and this holds {script} ({foreign!r}); write it in English"
    raise PromptLanguageUnsupported(
        f"{field}: {description}",
        korean="FLUX.1-Fill은 영어 프롬프트만 읽을 수 있습니다. 영어로 작성하세요. 예: 'a bright modern gym'",
        violations=[Violation(field, description)],
        metadata={"languages": "en"},
    )


def _ranges(feature: Feature) -> Iterator[tuple[str, NumberRange]]:
    parameters = feature.parameters
    yield "steps", parameters.steps
    yield "guidance_scale", parameters.guidance_scale
    yield "strength", parameters.strength
    if parameters.negative_scale is not None:
        yield "negative_scale", parameters.negative_scale


def _postprocess(request: edit_pb2.EditRequest) -> bool:
    if request.postprocess not in edit_pb2.Postprocess.values():
        raise InvalidArgument.field(
            "postprocess", f"must be POSTPROCESS_ON or POSTPROCESS_OFF, is {request.postprocess}"
        )
    return request.postprocess != edit_pb2.POSTPROCESS_OFF


def _profile(request: edit_pb2.EditRequest) -> ProfileName:
    if request.profile not in _PROFILE_NAMES:
        names = ", ".join(profile_pb2.Profile.Name(number) for number in _PROFILE_NAMES)
        raise InvalidArgument.field("profile", f"must be one of {names}, is {request.profile}")
    return _PROFILE_NAMES[request.profile]


def _number(request: edit_pb2.EditRequest, name: str, limits: NumberRange, preset: float | None) -> float:
    """The caller's value, which must lie in the range; else the profile's; else the default."""
    if not request.HasField(name):
        return limits.default if preset is None else preset
    value = float(getattr(request, name))
    checks.number(name, value, limits.min, limits.max)
    return value


def _negative_prompt(request: edit_pb2.EditRequest, feature: Feature) -> str | None:
    if request.HasField("negative_prompt"):
        return request.negative_prompt
    return feature.painter.automatic_negative_prompt if isinstance(feature.painter, QwenEditStage) else None


def _outpaint(request: edit_pb2.EditRequest) -> tuple[Margins | None, tuple[int, int] | None]:
    if not request.HasField("outpaint"):
        return None, None
    outpaint = request.outpaint
    margins = Margins(outpaint.left, outpaint.right, outpaint.top, outpaint.bottom)
    for side in ("left", "right", "top", "bottom"):
        checks.number(f"outpaint.{side}", getattr(margins, side), 0, MAX_MARGIN_PX)
    if not outpaint.HasField("aspect"):
        if not margins:
            raise InvalidArgument.field("outpaint", "set a margin above 0 px, or an aspect such as '16:9'")
        return margins, None
    if margins:
        raise InvalidArgument.field("outpaint", "set either margins or an aspect, not both")
    match = re.fullmatch(r"([1-9]\d{0,3}):([1-9]\d{0,3})", outpaint.aspect)
    if match is None:
        raise InvalidArgument.field("outpaint.aspect", f"must be 'W:H', for instance '16:9', is {outpaint.aspect!r}")
    return None, (int(match[1]), int(match[2]))


def _max_references(feature: Feature) -> int:
    return feature.painter.max_references if isinstance(feature.painter, QwenEditStage) else 0


def specs(feature: Feature) -> list[edit_pb2.ParameterSpec]:
    """The parameters that the feature takes, with all that a form needs."""
    found = [
        _spec("input_image", edit_pb2.PARAMETER_TYPE_IMAGE, required=True, min=1, max=1),
        _spec("prompt", edit_pb2.PARAMETER_TYPE_TEXT, required=True, min=1, max=checks.MAX_PROMPT_CHARACTERS),
        _spec(
            "negative_prompt",
            edit_pb2.PARAMETER_TYPE_TEXT,
            default=_text_value(feature.painter.automatic_negative_prompt)
            if isinstance(feature.painter, QwenEditStage)
            else None,
            min=0,
            max=checks.MAX_PROMPT_CHARACTERS,
        ),
    ]
    for name, limits in _ranges(feature):
        if name != "negative_scale" or isinstance(feature.painter, FillStage):
            found.append(_number_spec(name, limits))
    profile = _spec("profile", edit_pb2.PARAMETER_TYPE_ENUM, min=0, max=1, default=_text_value("PROFILE_BALANCED"))
    profile.choices.extend(profile_pb2.Profile.Name(number) for number in PROFILE_NUMBERS.values())
    found.append(profile)
    found.append(_spec("seed", edit_pb2.PARAMETER_TYPE_INTEGER, min=0, max=MAX_SEED))
    found.append(_spec("preview_every", edit_pb2.PARAMETER_TYPE_INTEGER, min=0, max=MAX_PREVIEW_EVERY))
    if feature.has(MaskStage) or feature.has(ExtendStage):
        postprocess = _spec(
            "postprocess", edit_pb2.PARAMETER_TYPE_ENUM, min=0, max=1, default=_text_value("POSTPROCESS_ON")
        )
        postprocess.choices.extend(("POSTPROCESS_ON", "POSTPROCESS_OFF"))
        found.append(postprocess)
    if feature.has(MaskStage):
        required = not feature.has(SegmentStage)
        found.append(_spec("mask_image", edit_pb2.PARAMETER_TYPE_IMAGE, required=required, min=int(required), max=1))
    if feature.has(ExtendStage):
        found.append(_spec("outpaint", edit_pb2.PARAMETER_TYPE_MESSAGE, min=0, max=MAX_MARGIN_PX))
    if _max_references(feature):
        found.append(_spec("reference_images", edit_pb2.PARAMETER_TYPE_IMAGE, min=0, max=_max_references(feature)))
    return found


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
    "reference_images": ("참조 이미지(2장까지)", "Reference pictures, up to 2."),
}
