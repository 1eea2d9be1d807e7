"""Write a plan as a catalogue file: YAML with a comment for every decision.

A workflow's texts stay within comments and quoted strings.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from services.orchestrator.catalogue.comfyui.document import plain
from services.orchestrator.catalogue.comfyui.plan import Choice, ExperimentPlan, Setting

WIDTH = 118


def catalogue_text(plan: ExperimentPlan, experiment_id: str, file_name: str) -> str:
    """The file."""
    return "\n".join([*_head(plan, file_name), *_experiment(plan, experiment_id, file_name)]) + "\n"


def _head(plan: ExperimentPlan, file_name: str) -> Iterator[str]:
    yield from _comment(
        0,
        f"Made by `imgedit catalogue import` from the ComfyUI workflow {plain(file_name)}. Comments name the node "
        "that a line comes from. After a change, `imgedit catalogue check` tells whether all still fits.",
    )
    if plan.settings:
        yield "#"
        yield "# Variables of the services that the workflow stands for; files lie in the folder of the models:"
        for setting in plan.settings:
            yield from _comment(2, f"{_assigned(setting)}  ({setting.why})")
    if plan.notes:
        yield "#"
        yield "# What is otherwise than in the workflow, or left out:"
        for note in dict.fromkeys(plan.notes):
            yield from _comment(2, f"- {note}")
    yield ""


def _assigned(setting: Setting) -> str:
    value = plain(setting.value)
    is_bare = value.isascii() and all(sign.isalnum() or sign in "._-/" for sign in value)
    return f"{setting.variable}={value if is_bare else json.dumps(value, ensure_ascii=False)}"


def _experiment(plan: ExperimentPlan, experiment_id: str, file_name: str) -> Iterator[str]:
    yield "experiments:"
    yield f"  - id: {_scalar(experiment_id)}"
    yield f"    name: {_scalar(experiment_id)}"
    yield f"    description: {_scalar(f'ComfyUI 워크플로우 {plain(file_name)}')}"
    yield "    models:"
    for model in plan.models:
        yield from _line(6, f"- model_id: {_scalar(model.model_id)}", model.why)
        if model.path is not None:
            yield from _line(8, f"path: {_scalar(model.path)}", "informational")
    yield "    features:"
    yield f"      - id: {_scalar(plan.feature_id)}"
    yield f"        name: {_scalar(plan.feature_name)}"
    yield from _line(8, f"requires_mask: {_scalar(plan.requires_mask.value)}", plan.requires_mask.why)
    yield "        stages:"
    for stage in plan.stages:
        yield from _line(10, f"- {stage.kind}{':' if stage.options else ''}", stage.why)
        yield from _options(14, stage.options)
    if plan.parameters:
        yield "        parameters:"
    for name, limits in plan.parameters.items():
        numbers = ", ".join(f"{key}: {_scalar(getattr(limits, key))}" for key in ("default", "min", "max"))
        yield from _line(10, f"{name}: {{{numbers}}}", limits.why)
    if plan.defaults:
        yield from _line(8, "defaults:", "what a request that leaves these out asks for")
        yield from _options(10, plan.defaults)


def _options(indent: int, options: Mapping[str, Choice]) -> Iterator[str]:
    for name, choice in options.items():
        if isinstance(choice.value, Mapping):
            yield from _line(indent, f"{name}:", choice.why)
            yield from _options(indent + 2, choice.value)
        else:
            yield from _line(indent, f"{name}: {_scalar(choice.value)}", choice.why)


def _line(indent: int, content: str, why: str) -> Iterator[str]:
    """A line with its reason behind it, or above where both are too long for one line."""
    line = " " * indent + content
    reason = plain(why)
    if len(line) + 4 + len(reason) <= WIDTH:
        yield f"{line}  # {reason}"
        return
    yield from _comment(indent, reason)
    yield line


def _comment(indent: int, content: str) -> Iterator[str]:
    """Yield comment lines, indented before the sign.

    In the file's head, the sign is at the left edge and the indent follows it.
    """
    start = " " * indent + "# " if indent > 2 else "# " + " " * indent
    further = start + ("  " if content.startswith("- ") else "")
    yield from textwrap.wrap(
        plain(content), WIDTH, initial_indent=start, subsequent_indent=further, break_on_hyphens=False
    )


def _scalar(value: Any) -> str:
    """A value in YAML, texts always in quotation marks."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        digits = f"{value:.10f}".rstrip("0")
        return f"{digits}0" if digits.endswith(".") else digits
    if isinstance(value, int):
        return str(value)
    quoted = json.dumps(str(value), ensure_ascii=False)
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in quoted)


def _escaped(sign: str) -> str:
    return f"\\u{ord(sign):04x}" if ord(sign) < 0x10000 else f"\\U{ord(sign):08x}"
