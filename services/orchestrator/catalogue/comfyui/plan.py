"""A planned experiment in plain values, every decision with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Choice:
    """A value, and why it is that one."""

    value: Any
    why: str


@dataclass(frozen=True)
class StagePlan:
    """A stage of the chain, its options in order; an option may hold options."""

    kind: str
    why: str
    options: Mapping[str, Choice] = field(default_factory=dict)


@dataclass(frozen=True)
class RangePlan:
    """A number that the request may set."""

    default: float
    min: float
    max: float
    why: str


@dataclass(frozen=True)
class ModelPlan:
    """A model that the experiment uses."""

    model_id: str
    why: str
    path: str | None = None


@dataclass(frozen=True)
class Setting:
    """A variable that the services need to do the same as the workflow."""

    variable: str
    value: str
    why: str


@dataclass(frozen=True)
class ExperimentPlan:
    """One experiment with one feature."""

    models: tuple[ModelPlan, ...]
    feature_id: str
    feature_name: str
    requires_mask: Choice
    stages: tuple[StagePlan, ...]
    parameters: Mapping[str, RangePlan] = field(default_factory=dict)
    defaults: Mapping[str, Choice] = field(default_factory=dict)
    settings: tuple[Setting, ...] = ()
    notes: tuple[str, ...] = ()
    """Differences between chain and workflow, and omitted parts."""
