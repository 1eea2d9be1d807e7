"""The experiment catalogue: the YAML file as checked, frozen models, and the faults of a file by line and field.

Everything about ranges, defaults and chains comes from here and nowhere else. The guide's own file, which has neither
stages nor parameters, loads unchanged: its features get those of the shipped file. This module knows the stage kinds
and their options, not how a stage works.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, model_validator

from imgedit.errors import ExperimentNotFound, FeatureNotFound, Resource, SettingsError

SHIPPED = Path(__file__).parents[2] / "config" / "experiments.yaml"

DEFAULT_TIMEOUT_SECONDS = 300.0

_log = logging.getLogger(__name__)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SegmentStage(_Strict):
    """BEN2 finds the subject. Runs beside the stages that do not need it."""

    kind: Literal["segment"] = "segment"


class MaskStage(_Strict):
    """The weight of the composite: the caller's mask, or the part of BEN2's that `choose` names."""

    kind: Literal["mask"] = "mask"
    choose: Literal["subject", "background"]
    threshold: float = Field(0.5, gt=0, lt=1)
    grow_px: int = Field(0, ge=0, le=256)
    feather_px: int = Field(0, ge=0, le=256)


class ExtendStage(_Strict):
    """Margins around the picture, as asked for or by the direction word in the prompt."""

    kind: Literal["extend"] = "extend"
    direction_fraction: float = Field(0.25, gt=0, le=1, description="margin by direction word, of the side's length")
    feather_px: int = Field(8, ge=0, le=256, description="softens the seam, inside the margins")


class FillStage(_Strict):
    """FLUX.1-Fill repaints where the weight is above 0."""

    kind: Literal["fill"] = "fill"


class QwenEditStage(_Strict):
    """Qwen-Image-Edit edits the picture by the prompt."""

    kind: Literal["qwen_edit"] = "qwen_edit"
    max_references: int = Field(0, ge=0, le=2)
    automatic_negative_prompt: str = "blurry, low quality, distorted, ugly, deformed"


class CompositeStage(_Strict):
    """The painted pixels over the input's, by the weight."""

    kind: Literal["composite"] = "composite"


def _kind_of(stage: Any) -> str:
    """The stage kind of a raw or a checked stage."""
    return str(stage["kind"] if isinstance(stage, dict) else stage.kind)


Stage = Annotated[
    Annotated[SegmentStage, Tag("segment")]
    | Annotated[MaskStage, Tag("mask")]
    | Annotated[ExtendStage, Tag("extend")]
    | Annotated[FillStage, Tag("fill")]
    | Annotated[QwenEditStage, Tag("qwen_edit")]
    | Annotated[CompositeStage, Tag("composite")],
    Discriminator(_kind_of),
]

PROMPT_LANGUAGES: Mapping[str, tuple[str, ...]] = {"fill": ("en",), "qwen_edit": ("ko", "en", "zh")}
"""Languages that the model of a stage reads, as ISO 639-1 codes."""


class NumberRange(_Strict):
    """Default and range of a number; `recommended` is the part of the range that the guide advises."""

    default: float
    min: float
    max: float
    recommended: tuple[float, float] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> NumberRange:
        if not self.min <= self.default <= self.max:
            raise ValueError(f"default {self.default:g} is not within {self.min:g} to {self.max:g}")
        if self.recommended and not self.min <= self.recommended[0] <= self.recommended[1] <= self.max:
            raise ValueError(f"recommended {self.recommended} is not within {self.min:g} to {self.max:g}")
        return self


class Parameters(_Strict):
    """The numbers that a feature takes."""

    steps: NumberRange
    guidance_scale: NumberRange
    strength: NumberRange
    negative_scale: NumberRange | None = None

    @model_validator(mode="after")
    def _steps_are_whole(self) -> Parameters:
        if not all(value.is_integer() for value in (self.steps.default, self.steps.min, self.steps.max)):
            raise ValueError("steps: must be whole numbers")
        return self


class Profile(_Strict):
    """What a profile sets instead of the defaults. Its values need not lie in the ranges, which bind callers."""

    steps: int | None = Field(None, ge=1, le=100)
    guidance_scale: float | None = Field(None, ge=0, le=100)
    strength: float | None = Field(None, ge=0, le=1)


class Profiles(_Strict):
    """The profiles of a feature."""

    fast: Profile = Profile()
    balanced: Profile = Profile()
    high: Profile = Profile()


class Model(_Strict):
    """A model that an experiment uses. `path` is informational: a model service's own settings decide."""

    model_id: str = Field(min_length=1)
    path: str | None = None


class Feature(_Strict):
    """One feature: its chain and its parameters."""

    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    name: str = Field(min_length=1)
    requires_mask: bool = False
    stages: tuple[Stage, ...] = Field(min_length=1)
    parameters: Parameters
    profiles: Profiles = Profiles()

    @model_validator(mode="before")
    @classmethod
    def _spell_out_stages(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("stages"), list):
            return {**value, "stages": [_spelled_out(stage) for stage in value["stages"]]}
        return value

    @model_validator(mode="after")
    def _chain_fits(self) -> Feature:
        kinds = [stage.kind for stage in self.stages]
        painters = [kind for kind in kinds if kind in ("fill", "qwen_edit")]
        if kinds[-1] != "composite" or kinds.count("composite") != 1:
            raise ValueError("stages: the last one, and only that, must be composite")
        if len(painters) != 1:
            raise ValueError("stages: exactly one of fill and qwen_edit is needed")
        before = kinds[: kinds.index(painters[0])]
        if painters[0] == "fill" and not {"mask", "extend"} & set(before):
            raise ValueError("stages: fill needs a mask or extend before it")
        if "segment" in before and "mask" in before and before.index("segment") > before.index("mask"):
            raise ValueError("stages: segment comes before the mask that is taken from it")
        if self.requires_mask and "mask" not in before:
            raise ValueError("requires_mask: the chain has no mask stage")
        if painters[0] == "qwen_edit" and self.parameters.negative_scale is not None:
            raise ValueError("parameters.negative_scale: qwen_edit weighs the negative prompt by guidance_scale")
        return self

    @cached_property
    def painter(self) -> FillStage | QwenEditStage:
        """The stage whose model reads the prompt."""
        return next(stage for stage in self.stages if isinstance(stage, FillStage | QwenEditStage))

    def has(self, kind: type[_Strict]) -> bool:
        """Whether the chain has a stage of this kind."""
        return any(isinstance(stage, kind) for stage in self.stages)


class Experiment(_Strict):
    """One experiment: models and features; the first feature is the default."""

    id: str = Field(pattern=r"^[a-z0-9_]{1,64}$")
    name: str = Field(min_length=1)
    description: str = ""
    models: tuple[Model, ...] = Field(min_length=1)
    features: tuple[Feature, ...] = Field(min_length=1)


class Catalogue(_Strict):
    """All experiments, in the order of the file."""

    timeout_seconds: float = Field(DEFAULT_TIMEOUT_SECONDS, gt=0)
    experiments: tuple[Experiment, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Catalogue:
        for what, ids in (
            ("experiment", [experiment.id for experiment in self.experiments]),
            *((f"feature of {e.id}", [feature.id for feature in e.features]) for e in self.experiments),
        ):
            twice = sorted({name for name in ids if ids.count(name) > 1})
            if twice:
                raise ValueError(f"{what} ids must be unique, these are not: {', '.join(twice)}")
        return self

    def find(self, experiment_id: str, feature_id: str | None) -> tuple[Experiment, Feature]:
        """The experiment and the feature; without `feature_id`, its first one.

        Raises `ExperimentNotFound` or `FeatureNotFound`, which say what there is.
        """
        experiment = next((e for e in self.experiments if e.id == experiment_id), None)
        if experiment is None:
            known = ", ".join(e.id for e in self.experiments)
            raise ExperimentNotFound(
                f"experiment_id: there is no experiment {experiment_id!r}; there are {known}",
                korean=f"'{experiment_id}' 실험이 없습니다. 사용할 수 있는 실험: {known}",
                resource=Resource("imgedit.v1.Experiment", experiment_id),
            )
        if not feature_id:
            return experiment, experiment.features[0]
        feature = next((f for f in experiment.features if f.id == feature_id), None)
        if feature is None:
            raise self._feature_not_found(experiment, feature_id)
        return experiment, feature

    def _feature_not_found(self, experiment: Experiment, feature_id: str) -> FeatureNotFound:
        known = ", ".join(f.id for f in experiment.features)
        owner = next((e.id for e in self.experiments for f in e.features if f.id == feature_id), None)
        hint = f"; it belongs to experiment {owner}" if owner else ""
        return FeatureNotFound(
            f"feature_id: experiment {experiment.id} has no feature {feature_id!r}{hint}; it has {known}",
            korean=f"'{experiment.id}' 실험에는 '{feature_id}' 기능이 없습니다. 사용할 수 있는 기능: {known}",
            resource=Resource("imgedit.v1.Feature", feature_id),
        )


def load(path: Path) -> Catalogue:
    """Read and check a catalogue file. Raises `SettingsError` with file, line and field of every fault."""
    document, node = _parse(path)
    if not isinstance(document, dict):
        raise SettingsError(f"{path}:1: must be a mapping with the key 'experiments'")
    if path.resolve() != SHIPPED.resolve():
        _adopt_guide_form(document)
    try:
        return Catalogue.model_validate(document)
    except ValidationError as error:
        raise SettingsError("\n".join(_faults(path, node, error))) from None


def _faults(path: Path, node: yaml.Node | None, error: ValidationError) -> list[str]:
    faults = []
    locations = [fault["loc"] for fault in error.errors()]
    for fault in error.errors():
        loc = fault["loc"]
        if fault["type"] == "too_short" and any(other[: len(loc)] == loc != other for other in locations):
            continue  # the list is not empty: its items were refused, each with a fault of its own
        keys = [key for key in loc if key not in _STAGE_KINDS]
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "union_tag_invalid":
            message = f"there is no stage kind {fault['ctx']['tag']!r}; there are {', '.join(_STAGE_KINDS)}"
        field = ".".join(str(key) for key in keys) or "file"
        faults.append(f"{path}:{_line(node, keys)}: {field}: {message}")
    return faults


_STAGE_KINDS = ("segment", "mask", "extend", "fill", "qwen_edit", "composite")


def _parse(path: Path) -> tuple[Any, yaml.Node | None]:
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.safe_load(text), yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{path}:{line}: not valid YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}:1: not valid YAML: {error}") from None


def _adopt_guide_form(document: dict[str, Any]) -> None:
    """Give the guide's own file what it leaves to the built-in chains."""
    comfyui = document.pop("comfyui", None)
    if isinstance(comfyui, dict):
        if "base_url" in comfyui:
            _log.warning("comfyui.base_url is ignored: no ComfyUI is called any more")
        if "timeout" in comfyui:
            document.setdefault("timeout_seconds", comfyui["timeout"])
    built_in = {
        (e["id"], f["id"]): f for e in yaml.safe_load(SHIPPED.read_text("utf-8"))["experiments"] for f in e["features"]
    }
    for experiment in document.get("experiments") or []:
        for feature in experiment.get("features") or [] if isinstance(experiment, dict) else []:
            if isinstance(feature, dict) and (experiment.get("id"), feature.get("id")) in built_in:
                shipped = built_in[experiment["id"], feature["id"]]
                feature.setdefault("stages", shipped["stages"])
                feature.setdefault("parameters", shipped["parameters"])
                feature.setdefault("profiles", shipped["profiles"])


def _spelled_out(stage: Any) -> Any:
    """`segment` and `mask: {…}` as {kind: …, options}."""
    if isinstance(stage, str):
        return {"kind": stage}
    if isinstance(stage, dict) and len(stage) == 1 and "kind" not in stage:
        [(kind, options)] = stage.items()
        return (
            {"kind": kind, **(options or {})}
            if isinstance(options, dict | None)
            else {"kind": kind, "options": options}
        )
    return stage if isinstance(stage, dict) and "kind" in stage else {"kind": str(stage)}


def _line(node: yaml.Node | None, keys: list[Any]) -> int:
    """The line of the innermost node that `keys` leads to."""
    line = 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == str(key)), None)
            if pair is None and len(node.value) == 1:  # a stage written as `kind: {options}`
                node = node.value[0][1]
                pair = next(((k, v) for k, v in getattr(node, "value", []) if k.value == str(key)), None)
            if pair is None:
                return line
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            return line
    return line
