"""The experiment catalogue: the checked YAML file as frozen models.

The only source of ranges, defaults and chains. The prototype's file, which has neither stages nor parameters, loads
unchanged: its features get those of the shipped file.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)

from imgedit.errors import (
    ExperimentNotFound,
    FeatureNotFound,
    InvalidArgument,
    Resource,
    SettingsError,
    did_you_mean,
    quoted,
)
from services.common import languages, texts
from services.common.checks import MAX_PROMPT_CHARACTERS
from services.orchestrator.catalogue import chain_rules, comfyui_config, faults, yaml_file
from services.orchestrator.catalogue.faults import fault

SHIPPED = Path(__file__).parents[3] / "config" / "experiments.yaml"

DEFAULT_TIMEOUT_SECONDS = 300.0

MAX_SEED = 2**32 - 1
MAX_MASK_PX = 256
MAX_MARGIN_PX = 4096
MAX_TASK_CHARACTERS = 40

_log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class SegmentStage(_Strict):
    """BEN2 finds the subject.

    Runs in parallel with stages that do not need it.
    """

    kind: Literal["segment"] = "segment"


class OwnMask(_Strict):
    """Defaults of `EditRequest.mask` for the caller's own mask."""

    invert: bool = Field(False, description="black = repaint; a request's `mask.invert` swaps again")
    threshold: float = Field(0.5, gt=0, lt=1)
    grow_px: int = Field(0, ge=0, le=MAX_MASK_PX)
    feather_px: int = Field(0, ge=0, le=MAX_MASK_PX)


class MaskStage(_Strict):
    """The mask alpha: the caller's mask, or the part of BEN2's that `choose` names.

    Its options are the defaults of `EditRequest.mask_options` for BEN2's mask; those of `own`, for the caller's.
    """

    kind: Literal["mask"] = "mask"
    choose: Literal["subject", "background"]
    threshold: float = Field(0.5, gt=0, lt=1)
    grow_px: int = Field(0, ge=0, le=MAX_MASK_PX)
    feather_px: int = Field(0, ge=0, le=MAX_MASK_PX)
    own: OwnMask = OwnMask()


class ExtendStage(_Strict):
    """Margins around the image, from the request or from the prompt's direction words."""

    kind: Literal["extend"] = "extend"
    direction_fraction: float = Field(0.25, gt=0, le=1, description="margin by direction word, of the side's length")
    feather_px: int = Field(8, ge=0, le=MAX_MASK_PX, description="softens the seam, inside the margins")
    left: int = Field(0, ge=0, le=MAX_MARGIN_PX, description="margin in pixels where the request has no `outpaint`")
    right: int = Field(0, ge=0, le=MAX_MARGIN_PX)
    top: int = Field(0, ge=0, le=MAX_MARGIN_PX)
    bottom: int = Field(0, ge=0, le=MAX_MARGIN_PX)

    @property
    def margins(self) -> dict[str, int]:
        """The margins in pixels by side; all 0 = the prompt's direction words decide."""
        return {side: getattr(self, side) for side in ("left", "right", "top", "bottom")}


class RewritePromptStage(_Strict):
    """The PromptService translates or expands the prompts.

    Runs in parallel with stages that do not need it. If the chain lacks it, it is added for an edit that needs it.
    """

    kind: Literal["rewrite_prompt"] = "rewrite_prompt"
    expand: bool = Field(False, description="write every prompt out, as `expand_prompt` does for one")


class PaintStage(_Strict):
    """A stage with a painting model.

    Values set here replace the request's.
    """

    prompt: str | None = Field(
        None,
        min_length=1,
        max_length=MAX_PROMPT_CHARACTERS,
        description="the stage's own prompt, in a language that its model reads",
    )
    steps: int | None = Field(None, ge=1, le=100)
    guidance_scale: float | None = Field(None, ge=0, le=100)
    strength: float | None = Field(None, ge=0, le=1)


class FillStage(PaintStage):
    """FLUX.1-Fill repaints where the mask alpha is above 0."""

    kind: Literal["fill"] = "fill"

    @field_validator("prompt")
    @classmethod
    def _prompt_is_english(cls, prompt: str | None) -> str | None:
        letter = languages.foreign_letter(prompt or "", ("en",))
        if letter:
            raise fault(f"FLUX.1-Fill reads English only, and this holds {letter!r}")
        return prompt


Background = Literal["whole", "keep", "remove", "transparent"]


class QwenEditStage(PaintStage):
    """Qwen-Image-Edit edits the image by the prompt."""

    kind: Literal["qwen_edit"] = "qwen_edit"
    max_references: int = Field(0, ge=0, le=2)
    automatic_negative_prompt: str = "blurry, low quality, distorted, ugly, deformed"
    background: Background = Field("whole", description="what becomes of the picture around the subject")


class CompositeStage(_Strict):
    """Combines painted and input pixels by the mask alpha."""

    kind: Literal["composite"] = "composite"


def _spelled_out(stage: Any) -> Any:
    """`segment` and `mask: {…}` as {kind: …, options}."""
    if isinstance(stage, str):
        return {"kind": stage}
    if isinstance(stage, BaseModel):
        return stage
    if isinstance(stage, dict) and len(stage) == 1:
        [(kind, options)] = stage.items()
        if isinstance(options, dict | None):
            return {**(options or {}), "kind": kind}
    raise fault("must be the name of a stage, or a name with options, as in `mask: {choose: subject}`")


def _kind_of(stage: Any) -> str:
    """The stage kind of a raw or a checked stage."""
    return str(stage["kind"] if isinstance(stage, dict) else stage.kind)


Stage = Annotated[
    Annotated[SegmentStage, Tag("segment")]
    | Annotated[MaskStage, Tag("mask")]
    | Annotated[ExtendStage, Tag("extend")]
    | Annotated[RewritePromptStage, Tag("rewrite_prompt")]
    | Annotated[FillStage, Tag("fill")]
    | Annotated[QwenEditStage, Tag("qwen_edit")]
    | Annotated[CompositeStage, Tag("composite")],
    Discriminator(_kind_of),
    BeforeValidator(_spelled_out),
]


class NumberRange(_Strict):
    """Default and range of a number.

    `recommended`: the part of the range that the guide recommends.
    """

    default: float
    min: float
    max: float
    recommended: Annotated[tuple[float, float], Strict(False)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> NumberRange:
        if self.min > self.max:
            raise fault(f"min {self.min:g} is above max {self.max:g}", "min")
        if not self.min <= self.default <= self.max:
            raise fault(f"default {self.default:g} is not within {self.min:g} to {self.max:g}", "default")
        if self.recommended and not self.min <= self.recommended[0] <= self.recommended[1] <= self.max:
            first, last = self.recommended
            raise fault(f"{first:g} to {last:g} is not within {self.min:g} to {self.max:g}", "recommended")
        return self


class Parameters(_Strict):
    """The numbers that a feature takes from the request, because no stage fixes them."""

    steps: NumberRange | None = None
    guidance_scale: NumberRange | None = None
    strength: NumberRange | None = None
    negative_scale: NumberRange | None = None

    @model_validator(mode="after")
    def _steps_are_whole(self) -> Parameters:
        for name in ("default", "min", "max"):
            if self.steps is not None and not getattr(self.steps, name).is_integer():
                raise fault("must be a whole number", "steps", name)
        return self


class Profile(_Strict):
    """The values that a profile sets instead of the defaults.

    They may lie outside the ranges, which bind callers.
    """

    steps: int | None = Field(None, ge=1, le=100)
    guidance_scale: float | None = Field(None, ge=0, le=100)
    strength: float | None = Field(None, ge=0, le=1)
    region_steps: bool | None = Field(
        None, description="compute only what the mask asks for in most steps; unset = as the model service is set to"
    )


class Profiles(_Strict):
    """The profiles of a feature."""

    fast: Profile = Profile()
    balanced: Profile = Profile()
    high: Profile = Profile()

    @model_validator(mode="after")
    def _high_computes_everything(self) -> Profiles:
        if self.high.region_steps:
            raise fault(
                "the profile high computes the whole picture in every step; leave it out", "high", "region_steps"
            )
        return self


class Defaults(_Strict):
    """Values for the fields that a request leaves unset."""

    prompt: str | None = Field(None, min_length=1, max_length=MAX_PROMPT_CHARACTERS)
    negative_prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARACTERS)
    seed: int | None = Field(None, ge=0, le=MAX_SEED)
    profile: Literal["fast", "balanced", "high"] | None = None

    @field_validator("prompt")
    @classmethod
    def _prompt_says_something(cls, prompt: str | None) -> str | None:
        if prompt is not None and not texts.comparable(prompt).strip():
            raise fault("is blank; leave it out, or say what to do")
        return prompt


class Model(_Strict):
    """A model that an experiment uses.

    path: its folder or GGUF file. `imgedit up` without --models takes it; else the services' settings decide.
    """

    model_id: str = Field(min_length=1)
    path: str | None = None


LanguageTag = Annotated[str, Field(pattern=r"^[a-z]{2,3}$")]
"""A language as ISO 639 names it: "ko", "en"."""

Task = Annotated[str, Field(min_length=1, max_length=MAX_TASK_CHARACTERS)]

Example = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]


class Feature(_Strict):
    """One feature: its chain, its parameters, its task and examples for people."""

    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    name: str = Field(min_length=1)
    requires_mask: bool = False
    stages: Annotated[tuple[Stage, ...], Strict(False)] = Field(min_length=1)
    parameters: Parameters = Parameters()
    profiles: Profiles = Profiles()
    defaults: Defaults = Defaults()
    task: dict[LanguageTag, Task] = Field({}, description="what people use it for, by language")
    examples: Annotated[tuple[dict[LanguageTag, Example], ...], Strict(False)] = Field(
        (), description="prompts that show what it does, each by language"
    )

    @model_validator(mode="after")
    def _chain_fits(self) -> Feature:
        kinds = [stage.kind for stage in self.stages]
        chain_rules.check_chain(kinds)
        prompted = [index for index, stage in enumerate(self.stages) if _reads_the_prompt(stage)]
        if len(prompted) > 1:
            raise fault("one stage reads the request's prompt; give this one a `prompt`", "stages", prompted[0])
        if "rewrite_prompt" in kinds and not prompted:
            raise fault("no stage reads the request's prompt", "stages", kinds.index("rewrite_prompt"))
        for section in self.passes:
            self._check_background(section)
        if self.requires_mask and "mask" not in kinds:
            raise fault("the chain has no mask stage", "requires_mask")
        return self

    def _check_background(self, section: Sequence[Stage]) -> None:
        for stage in section:
            has_mask = any(isinstance(other, MaskStage) for other in section)
            if isinstance(stage, QwenEditStage) and stage.background != "whole" and not has_mask:
                index = next(index for index, other in enumerate(self.stages) if other is stage)
                raise fault(f"{stage.background} needs a mask stage before it", "stages", index, "background")

    @model_validator(mode="after")
    def _parameters_fit(self) -> Feature:
        for name in ("steps", "guidance_scale", "strength"):
            is_open = any(getattr(stage, name) is None for stage in self.paint_stages)
            if is_open and getattr(self.parameters, name) is None:
                raise fault(f"{name} is missing: a stage that paints takes it from the request", "parameters")
            if not is_open and getattr(self.parameters, name) is not None:
                raise fault("no stage takes it from the request; leave it out", "parameters", name)
        if self.parameters.negative_scale is not None and not isinstance(self.prompt_stage, FillStage):
            raise fault("weighs a negative prompt for fill alone; leave it out", "parameters", "negative_scale")
        return self

    @model_validator(mode="after")
    def _defaults_fit(self) -> Feature:
        for name in ("prompt", "negative_prompt"):
            if getattr(self.defaults, name) is not None and self.prompt_stage is None:
                raise fault("no stage reads the request's prompts; leave it out", "defaults", name)
        for name in ("seed", "profile"):
            if getattr(self.defaults, name) is not None and not self.paint_stages:
                raise fault("no stage paints; leave it out", "defaults", name)
        return self

    @model_validator(mode="after")
    def _examples_fit(self) -> Feature:
        if self.examples and self.prompt_stage is None:
            raise fault("no stage reads the request's prompt; leave them out", "examples")
        for index, example in enumerate(self.examples):
            if not example:
                raise fault("names no language", "examples", index)
        return self

    @cached_property
    def passes(self) -> tuple[tuple[Stage, ...], ...]:
        """The stages up to each composite.

        Each paints once, from what the one before made.
        """
        ends = [index for index, stage in enumerate(self.stages, start=1) if isinstance(stage, CompositeStage)]
        starts = [0, *ends[:-1]]
        return tuple(self.stages[start:end] for start, end in zip(starts, ends or [len(self.stages)], strict=True))

    @cached_property
    def paint_stages(self) -> tuple[FillStage | QwenEditStage, ...]:
        """The stages whose models paint, in order; empty for a feature that only cuts out."""
        return tuple(stage for stage in self.stages if isinstance(stage, FillStage | QwenEditStage))

    @cached_property
    def prompt_stage(self) -> FillStage | QwenEditStage | None:
        """The stage that reads the request's prompt.

        None if every stage fixes its prompt, or nothing paints.
        """
        return next((stage for stage in self.paint_stages if stage.prompt is None), None)

    @cached_property
    def primary_stage(self) -> FillStage | QwenEditStage | None:
        """The stage whose parameters the response reports.

        The one that reads the prompt, else the last that paints.
        """
        return self.prompt_stage or next(reversed(self.paint_stages), None)

    def has(self, kind: type[_Strict]) -> bool:
        """Whether the chain has a stage of this kind."""
        return any(isinstance(stage, kind) for stage in self.stages)


def _reads_the_prompt(stage: BaseModel) -> bool:
    return isinstance(stage, PaintStage) and stage.prompt is None


class Experiment(_Strict):
    """One experiment: models and features; the first feature is the default."""

    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    name: str = Field(min_length=1)
    description: str = ""
    models: Annotated[tuple[Model, ...], Strict(False)] = Field(min_length=1)
    features: Annotated[tuple[Feature, ...], Strict(False)] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Experiment:
        _check_unique("features", [feature.id for feature in self.features])
        return self


class Comfyui(_Strict):
    """The server section of the ComfyUI prototype's file."""

    base_url: str | None = Field(None, description="ignored: no ComfyUI is called any more")
    timeout: float | None = Field(None, gt=0, description="the deadline in seconds of an edit whose caller sets none")


class Catalogue(_Strict):
    """All experiments, in the order of the file."""

    timeout_seconds: float = Field(
        DEFAULT_TIMEOUT_SECONDS, gt=0, description="the deadline of an edit whose caller sets none"
    )
    experiments: Annotated[tuple[Experiment, ...], Strict(False)] = Field(min_length=1)
    comfyui: Comfyui | None = None

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Catalogue:
        _check_unique("experiments", [experiment.id for experiment in self.experiments])
        return self

    def find(self, experiment_id: str, feature_id: str | None) -> tuple[Experiment, Feature]:
        """The experiment and the feature; without `feature_id`, its first one.

        Raises `InvalidArgument` without an experiment, and `ExperimentNotFound` or `FeatureNotFound`, which list the
        known ids.
        """
        experiment = next((e for e in self.experiments if e.id == experiment_id), None)
        if experiment is None:
            raise self._experiment_not_found(experiment_id)
        if not feature_id:
            return experiment, experiment.features[0]
        feature = next((f for f in experiment.features if f.id == feature_id), None)
        if feature is None:
            raise self._feature_not_found(experiment, feature_id)
        return experiment, feature

    def _experiment_not_found(self, experiment_id: str) -> InvalidArgument | ExperimentNotFound:
        ids = [e.id for e in self.experiments]
        known = ", ".join(ids)
        if not experiment_id:
            return InvalidArgument.field(
                "experiment_id",
                f"is missing; there are {known}",
                korean=f"experiment_id가 없습니다. 사용할 수 있는 실험: {known}",
            )
        return ExperimentNotFound.named(
            "experiment_id",
            f"there is no experiment {quoted(experiment_id)}{did_you_mean(experiment_id, ids)}; there are {known}",
            Resource("imgedit.v1.Experiment", experiment_id),
            korean=f"{quoted(experiment_id)} 실험이 없습니다. 사용할 수 있는 실험: {known}",
        )

    def _feature_not_found(self, experiment: Experiment, feature_id: str) -> FeatureNotFound:
        ids = [f.id for f in experiment.features]
        known = ", ".join(ids)
        owner = next((e.id for e in self.experiments for f in e.features if f.id == feature_id), None)
        hint = f"; it belongs to experiment {owner}" if owner else did_you_mean(feature_id, ids)
        return FeatureNotFound.named(
            "feature_id",
            f"experiment {experiment.id} has no feature {quoted(feature_id)}{hint}; it has {known}",
            Resource("imgedit.v1.Feature", feature_id),
            korean=f"'{experiment.id}' 실험에는 {quoted(feature_id)} 기능이 없습니다. 사용할 수 있는 기능: {known}",
        )


def _check_unique(field: str, ids: list[str]) -> None:
    """Report the second of two equal ids."""
    for index, name in enumerate(ids):
        if name in ids[:index]:
            raise fault(f"{name!r} is the id of another one already; ids must be unique", field, index, "id")


def load_catalogue(path: Path) -> Catalogue:
    """Read and check a catalogue file.

    Raises `SettingsError` with file, line and field of every fault.
    """
    file = yaml_file.read_yaml(path)
    if not isinstance(file.values, dict):
        raise SettingsError(f"{path}:1: file: must be a mapping with the key 'experiments'")
    if path.resolve() != SHIPPED.resolve():
        comfyui_config.adopt_chains(file.values, yaml_file.read_yaml(SHIPPED).values)
    try:
        loaded = Catalogue.model_validate(file.values)
    except ValidationError as error:
        raise SettingsError("\n".join(faults.lines(file, error, Catalogue))) from None
    return _with_guide_settings(loaded)


def _with_guide_settings(loaded: Catalogue) -> Catalogue:
    """Take the effective values from the prototype's `comfyui` section."""
    if loaded.comfyui is None:
        return loaded
    if loaded.comfyui.base_url is not None:
        _log.warning("comfyui.base_url is ignored: no ComfyUI is called any more")
    if loaded.comfyui.timeout is None or "timeout_seconds" in loaded.model_fields_set:
        return loaded
    return loaded.model_copy(update={"timeout_seconds": loaded.comfyui.timeout})
