"""The parameters of one edit: checked against the catalogue, with defaults.

The boundary between EditRequest and the stages, which see only `EditParameters`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from imgedit.errors import InvalidArgument
from imgedit.remarks import Remark, Remarks
from imgedit.v1 import edit_pb2, profile_pb2
from services.common import checks, texts
from services.common.checks import Scales, read_loras
from services.common.interceptors import REQUEST_ID_PATTERN
from services.orchestrator.catalogue.experiments import (
    MAX_SEED,
    ExtendStage,
    Feature,
    FillStage,
    MaskStage,
    NumberRange,
    Parameters,
    QwenEditStage,
)
from services.orchestrator.request import margins, mask_parameters, output
from services.orchestrator.request.margins import Extension
from services.orchestrator.request.mask_parameters import MaskParameters
from services.orchestrator.request.output import Output

MAX_PREVIEW_EVERY = 100
MAX_RESULTS = 4

NO_GUIDANCE = Remark(
    "negative_prompt: not used, since this model needs a guidance_scale above 1 for it",
    "제외할 내용(negative_prompt)은 쓰이지 않았습니다. 이 모델에서는 guidance_scale이 1보다 커야 합니다.",
)
"""The warning for a negative prompt that Qwen-Image-Edit would not look at."""

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
class EditParameters:
    """The parameters of an edit.

    warnings: what the caller asked for and does not get. region_steps: whether most steps compute only what
    the mask asks for, None = as the model service is set to. n: results to make, with seeds from `seed` on. loras:
    names and strengths, in the request's order.
    """

    prompt: str
    negative_prompt: str | None
    negative_scale: float | None
    steps: int
    guidance_scale: float
    strength: float
    seed: int
    extension: Extension | None
    preview_every: int = 0
    profile: ProfileName = "balanced"
    postprocess: bool = True
    region: MaskParameters = field(default_factory=MaskParameters)
    output: Output = field(default_factory=Output)
    warnings: Remarks = ()
    expand_prompt: bool = False
    region_steps: bool | None = None
    n: int = 1
    loras: Scales = ()

    def at(self, stage: FillStage | QwenEditStage) -> EditParameters:
        """The parameters of this stage.

        Values fixed in the catalogue replace the request's.
        """
        fixed = {name: getattr(stage, name) for name in ("steps", "guidance_scale", "strength")}
        there = replace(self, **{name: value for name, value in fixed.items() if value is not None})
        if stage.prompt is None:
            return there
        return replace(
            there, prompt=stage.prompt, negative_prompt=automatic_negative_prompt(stage), negative_scale=None
        )

    def of_result(self, index: int) -> EditParameters:
        """The parameters of one of the n results, counted from 0."""
        return replace(self, seed=(self.seed + index) % (MAX_SEED + 1))

    @property
    def steps_run(self) -> int:
        """The denoise steps that remain after strength.

        Of n, int(n − n × strength) are skipped.
        """
        return self.steps - int(self.steps - self.steps * self.strength)


def resolve_parameters(request: edit_pb2.EditRequest, feature: Feature) -> EditParameters:
    """Check every field of a request and fill in the defaults.

    Raises `InvalidArgument` (or `PromptRejected`) that names every field at fault.
    """
    _check(request, feature)
    prompt = request.prompt or feature.defaults.prompt or ""
    profile = _profile(request, feature)
    preset = getattr(feature.profiles, profile)
    numbers = {name: _number(request, name, limits, getattr(preset, name, None)) for name, limits in ranges(feature)}
    has_guidance = _has_guidance(feature.prompt_stage, numbers.get("guidance_scale", 0))
    extend = next((stage for stage in feature.stages if isinstance(stage, ExtendStage)), None)
    where, what = _where_and_what(request, feature)
    return EditParameters(
        prompt=texts.normal(prompt),
        negative_prompt=_negative_prompt(request, feature) if has_guidance else None,
        negative_scale=numbers.get("negative_scale") if _has_negative_prompt(request, feature) else None,
        steps=int(numbers.get("steps", 0)),
        guidance_scale=numbers.get("guidance_scale", 0),
        strength=numbers.get("strength", 0),
        seed=_seed(request, feature),
        extension=margins.resolve_margins(request, extend, prompt) if extend else None,
        preview_every=request.preview_every,
        profile=profile,
        postprocess=_postprocess(request),
        region=where,
        output=what,
        expand_prompt=request.expand_prompt,
        n=request.n if request.HasField("n") else 1,
        region_steps=preset.region_steps,
        loras=read_loras(request.loras),
        warnings=() if has_guidance or not request.HasField("negative_prompt") else (NO_GUIDANCE,),
    )


def _check(request: edit_pb2.EditRequest, feature: Feature) -> None:
    """Check each field by itself, and raise what is wrong with all of them."""
    together = checks.Together()
    together.check(_check_request_id, request)
    together.check(_check_references, request, feature)
    together.check(read_loras, request.loras)
    present = {field.name for field, _ in request.ListFields()}
    for name, is_used in optional_fields(feature).items():
        if name in present and not is_used:
            together.check(_refuse_unused, name, feature)
    if request.HasField("negative_scale") and not _has_negative_prompt(request, feature):
        together.check(_refuse_negative_scale)
    prompt = request.prompt or feature.defaults.prompt or ""
    # One at fault is looked at no further: it may have millions of characters.
    has_prompt = feature.prompt_stage is not None and together.check(checks.prompt, "prompt", prompt)
    together.check(checks.prompt, "negative_prompt", request.negative_prompt, may_be_blank=True)
    together.check(checks.number, "preview_every", request.preview_every, 0, MAX_PREVIEW_EVERY)
    together.check(_check_n, request)
    together.check(_profile, request, feature)
    for name, limits in ranges(feature):
        together.check(_number, request, name, limits, None)
    together.check(_postprocess, request)
    together.check(_where_and_what, request, feature)
    for stage in feature.stages:
        if isinstance(stage, ExtendStage) and (request.HasField("outpaint") or has_prompt):
            together.check(margins.resolve_margins, request, stage, prompt if has_prompt else "")
    together.end()


def _where_and_what(request: edit_pb2.EditRequest, feature: Feature) -> tuple[MaskParameters, Output]:
    """The region and the output, which a transparent result brings together."""
    where = mask_parameters.resolve_masks(request, feature)
    what = output.resolve_output(request)
    if where.background == "transparent" or not feature.paint_stages:
        what.check_transparency()
    return where, what


def _has_guidance(stage: FillStage | QwenEditStage | None, asked: float) -> bool:
    """Whether the model uses a negative prompt.

    Qwen does at a guidance above 1.
    """
    if not isinstance(stage, QwenEditStage):
        return True
    return (asked if stage.guidance_scale is None else stage.guidance_scale) > 1


def optional_fields(feature: Feature) -> dict[str, bool]:
    """The optional fields of EditRequest, and whether this feature takes each."""
    reads, paints = feature.prompt_stage is not None, bool(feature.paint_stages)
    return {
        **dict.fromkeys(("prompt", "expand_prompt", "negative_prompt"), reads),
        **dict.fromkeys(("seed", "n", "profile", "preview_every", "loras"), paints),
        **{name: getattr(feature.parameters, name) is not None for name in Parameters.model_fields},
        "mask_image": feature.has(MaskStage),
        "mask_options": feature.has(MaskStage),
        "background": mask_parameters.takes_background(feature),
        "outpaint": feature.has(ExtendStage),
        "reference_images": max_references(feature) > 0,
    }


def preset_numbers(feature: Feature, profile: ProfileName) -> dict[str, float]:
    """Steps, guidance and strength of a profile, for unset fields."""
    preset, stage = getattr(feature.profiles, profile), feature.primary_stage
    numbers = {name: limits.default for name, limits in ranges(feature) if name != "negative_scale"}
    for source in (preset, stage):
        for name in ("steps", "guidance_scale", "strength"):
            if getattr(source, name, None) is not None:
                numbers[name] = getattr(source, name)
    return numbers


def _check_request_id(request: edit_pb2.EditRequest) -> None:
    if request.HasField("request_id") and not REQUEST_ID_PATTERN.fullmatch(request.request_id):
        raise InvalidArgument.field("request_id", "must be 1 to 64 letters, digits, '.', '_' or '-'")


def _check_n(request: edit_pb2.EditRequest) -> None:
    if not request.HasField("n"):
        return
    checks.number("n", request.n, 1, MAX_RESULTS)
    if request.seed + request.n - 1 > MAX_SEED:
        raise InvalidArgument.field(
            "seed", f"must leave room for n seeds up to {MAX_SEED}; n is {request.n} and seed is {request.seed}"
        )


def _refuse_unused(name: str, feature: Feature) -> None:
    """Refuse a field that the feature has no use for, instead of dropping it."""
    raise InvalidArgument.field(
        name,
        f"the feature {feature.id} has no use for it; leave it out",
        korean=f"'{feature.name}' 기능에서는 {name} 값을 쓸 수 없습니다.",
    )


def _refuse_negative_scale() -> None:
    raise InvalidArgument.field("negative_scale", "has no effect without negative_prompt; leave it out")


def _check_references(request: edit_pb2.EditRequest, feature: Feature) -> None:
    limit = max_references(feature)
    if limit and len(request.reference_images) > limit:
        raise InvalidArgument.field(
            "reference_images",
            f"must hold at most {limit} pictures, holds {len(request.reference_images)}",
            korean=f"참조 이미지는 {limit}장까지입니다.",
        )


def ranges(feature: Feature) -> Iterator[tuple[str, NumberRange]]:
    """The numbers that the feature takes, by field."""
    for name in Parameters.model_fields:
        limits: NumberRange | None = getattr(feature.parameters, name)
        if limits is not None:
            yield name, limits


def _seed(request: edit_pb2.EditRequest, feature: Feature) -> int:
    """The caller's seed, else a random one; 0 if nothing is drawn from it."""
    if not feature.paint_stages or request.HasField("seed"):
        return request.seed
    if feature.defaults.seed is not None:
        return feature.defaults.seed
    return secrets.randbits(32)


def _postprocess(request: edit_pb2.EditRequest) -> bool:
    if request.postprocess not in edit_pb2.Postprocess.values():
        raise InvalidArgument.field(
            "postprocess", f"must be POSTPROCESS_ON or POSTPROCESS_OFF, is {request.postprocess}"
        )
    return request.postprocess != edit_pb2.POSTPROCESS_OFF


def _profile(request: edit_pb2.EditRequest, feature: Feature) -> ProfileName:
    if request.profile not in _PROFILE_NAMES:
        names = ", ".join(profile_pb2.Profile.Name(number) for number in _PROFILE_NAMES)
        raise InvalidArgument.field("profile", f"must be one of {names}, is {request.profile}")
    if request.profile == profile_pb2.PROFILE_UNSPECIFIED and feature.defaults.profile is not None:
        return feature.defaults.profile
    return _PROFILE_NAMES[request.profile]


def _number(request: edit_pb2.EditRequest, name: str, limits: NumberRange, preset: float | None) -> float:
    """The caller's value within the range, else the profile's, else the default."""
    if not request.HasField(name):
        return limits.default if preset is None else preset
    value = float(getattr(request, name))
    checks.number(name, value, limits.min, limits.max)
    return value


def _has_negative_prompt(request: edit_pb2.EditRequest, feature: Feature) -> bool:
    """Whether the caller or the feature's defaults set a negative prompt."""
    return request.HasField("negative_prompt") or feature.defaults.negative_prompt is not None


def _negative_prompt(request: edit_pb2.EditRequest, feature: Feature) -> str | None:
    if request.HasField("negative_prompt"):
        return texts.normal(request.negative_prompt)
    if feature.defaults.negative_prompt is not None:
        return texts.normal(feature.defaults.negative_prompt)
    return automatic_negative_prompt(feature.prompt_stage)


def automatic_negative_prompt(stage: FillStage | QwenEditStage | None) -> str | None:
    """The default negative prompt of a stage; None = none."""
    return stage.automatic_negative_prompt if isinstance(stage, QwenEditStage) else None


def max_references(feature: Feature) -> int:
    """The number of references that the feature takes."""
    return max((stage.max_references for stage in feature.paint_stages if isinstance(stage, QwenEditStage)), default=0)
