"""A sampler's numbers, its model with LoRAs, and its prompts.

Ranges are those of the model services.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from services.common import texts
from services.common.checks import MAX_PROMPT_CHARACTERS
from services.orchestrator.catalogue.comfyui.document import Node, shown_value
from services.orchestrator.catalogue.comfyui.graph import Graph
from services.orchestrator.catalogue.comfyui.node_kinds import CLIP_LOADERS, MODEL_LOADERS, TEXT_ENCODERS
from services.orchestrator.catalogue.comfyui.plan import Choice, ModelPlan, Setting
from services.orchestrator.catalogue.experiments import MAX_SEED

PaintKind = Literal["fill", "qwen_edit"]

MODEL_IDS: dict[PaintKind, str] = {"fill": "FLUX.1-Fill", "qwen_edit": "Qwen-Image-Edit-2509"}

MAX_STEPS = 100
MAX_GUIDANCE: dict[PaintKind, float] = {"fill": 100, "qwen_edit": 15}
MAX_NEGATIVE_SCALE = 10
FLUX_GUIDANCE = 3.5
"""ComfyUI's, where a workflow has no FluxGuidance."""

FLUX_SHIFTS = {"max_shift": 1.15, "base_shift": 0.5}
"""Of the published checkpoint's schedule."""

EVEN_SCHEDULERS = ("simple", "normal", "sgm_uniform")
"""Their steps are even before the model's shift, as they are here."""

CLIP_TYPES: dict[PaintKind, str] = {"fill": "flux", "qwen_edit": "qwen_image"}

FAMILIES = (
    *("flux", "fill", "kontext", "schnell", "krea", "chroma", "qwen", "sdxl", "sd_xl", "sd3", "sd1", "v1-5", "wan"),
    *("hunyuan", "hidream", "z_image", "z-image", "lumina", "pixart", "auraflow", "ltx", "cosmos"),
)
"""Parts of the names of other models' files."""

LIGHTNING_SHIFT = 3.0
"""The constant shift of the schedule that qwen_edit uses with the LoRA of profile fast."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of a sampler.

    cfg: the weight of the negative prompt in ComfyUI's sense, 1 = none.
    """

    steps: Choice
    strength: Choice
    cfg: Choice
    seed: Choice
    notes: tuple[str, ...] = ()


def numbers(graph: Graph, sampler: Node) -> Numbers:
    """The numbers of a sampler.

    Raises `WorkflowError` for a number outside a chain's range, and for another method than Euler.
    """
    name = graph.text(sampler, "sampler_name")
    if name != "euler":
        raise graph.refused(sampler, "sampler_name", f'must be "euler", the only method here, is {shown_value(name)}')
    scheduler = graph.text(sampler, "scheduler")
    if scheduler not in EVEN_SCHEDULERS:
        known = ", ".join(EVEN_SCHEDULERS)
        raise graph.refused(
            sampler, "scheduler", f"must be one of {known}, whose steps are even, is {shown_value(scheduler)}"
        )
    steps = graph.whole(sampler, "steps", 1, MAX_STEPS)
    notes = [f"{sampler}: scheduler {shown_value(scheduler)}: here even steps with the model's own shift"]
    if sampler.kind == "KSampler":
        strength = graph.number(sampler, "denoise", 0, 1)
        why = f"{sampler}: denoise"
        run = steps - int(steps - steps * strength)
        if 0 < run < steps:
            same = min(MAX_STEPS, round(steps / strength))
            notes.append(
                f"{sampler}: ComfyUI runs all {steps} steps at denoise {strength:g}, here the last {run} of {steps} "
                f"run; steps: {same} runs about as many"
            )
        seed = "seed"
    else:
        strength = _part_from(graph, sampler, steps)
        why = f"{sampler}: the steps from start_at_step on"
        seed = "noise_seed"
    return Numbers(
        Choice(steps, f"{sampler}: steps"),
        Choice(strength, why),
        Choice(graph.number(sampler, "cfg", 0, 100), f"{sampler}: cfg"),
        _seed(graph, sampler, seed),
        tuple(notes),
    )


def _part_from(graph: Graph, sampler: Node, steps: int) -> float:
    """The strength that skips as many first steps as a KSamplerAdvanced."""
    for name, needed in (("add_noise", "enable"), ("return_with_leftover_noise", "disable")):
        if (found := graph.text(sampler, name)) != needed:
            raise graph.refused(
                sampler, name, f"must be {shown_value(needed)}, is {shown_value(found)}: a chain ends what it begins"
            )
    last = graph.whole(sampler, "end_at_step", 0, 10_000)
    if last < steps:
        raise graph.refused(
            sampler, "end_at_step", f"must be {steps} to 10000: a chain runs to the last step; is {last}"
        )
    skipped = graph.whole(sampler, "start_at_step", 0, 10_000)
    if skipped >= steps:
        raise graph.refused(sampler, "start_at_step", f"must be 0 to {steps - 1}, below steps, is {skipped}")
    return math.floor((steps - skipped) / steps * 10_000) / 10_000


def _seed(graph: Graph, sampler: Node, name: str) -> Choice:
    seed = graph.whole(sampler, name, 0, 2**64 - 1)
    if seed <= MAX_SEED:
        return Choice(seed, f"{sampler}: {name}; without the line, another picture each time")
    why = f"{sampler}: {name} {seed} modulo 2**32, since seeds are 0 to {MAX_SEED}; without the line, another each time"
    return Choice(seed % 2**32, why)


@dataclass(frozen=True)
class Network:
    """The model of a sampler. lora: the profile that runs it; None = there is none."""

    plan: ModelPlan
    settings: tuple[Setting, ...]
    lora: Choice | None
    notes: tuple[str, ...]


@dataclass
class _Walk:
    """The facts found on the way from a sampler to its model."""

    settings: list[Setting] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lora: Choice | None = None
    shift: float | None = None
    shifted_by: str = "ModelSamplingAuraFlow is not there"
    has_norm: bool = False


def network(graph: Graph, sampler: Node, stage_kind: PaintKind) -> Network:
    """The model of a sampler.

    Raises `WorkflowError` for a model other than the stage's.
    """
    walk = _Walk()
    node, _ = graph.linked(sampler, "model")
    while node.kind not in MODEL_LOADERS:
        _wrapped(graph, node, stage_kind, walk)
        node, _ = graph.linked(node, "model")
    name = graph.text(node, "unet_name")
    if not name.strip():
        raise graph.refused(node, "unet_name", "must name a file, is empty")
    _check_name(graph, node, name, stage_kind, walk)
    if node.kind == "UnetLoaderGGUF" or name.lower().endswith(".gguf"):
        walk.settings.append(Setting(f"IMGEDIT_{stage_kind.upper()}_GGUF", _path(name), f"{node}: unet_name"))
    else:
        walk.notes.append(
            f"{node}: the {stage_kind} service loads its own folder of {MODEL_IDS[stage_kind]}, not this file"
        )
    if stage_kind == "qwen_edit":
        walk.notes += _schedule_notes(walk)
    plan = ModelPlan(MODEL_IDS[stage_kind], f"{node}: unet_name", name)
    return Network(plan, tuple(walk.settings), walk.lora, tuple(walk.notes))


def _wrapped(graph: Graph, node: Node, stage_kind: PaintKind, walk: _Walk) -> None:
    """One node between the model and its sampler."""
    if node.kind in ("LoraLoader", "LoraLoaderModelOnly"):
        _lora(graph, node, stage_kind, walk)
        return
    if node.kind in ("ModelSamplingAuraFlow", "CFGNorm") and stage_kind == "fill":
        raise graph.refused(node, "model", f"{MODEL_IDS[stage_kind]} has no use for {node.kind}; it is for Qwen-Image")
    if node.kind == "ModelSamplingAuraFlow":
        if walk.shift is None:  # of several, the one nearest the sampler counts
            walk.shift = graph.number(node, "shift", 0, 100)
            walk.shifted_by = f"{node}: shift {walk.shift:g}"
        return
    if node.kind == "ModelSamplingFlux":
        _flux_schedule(graph, node, stage_kind)
        return
    if node.kind == "CFGNorm" or "strength" in node.inputs:
        strength = graph.number(node, "strength", 0, 100)
        if strength != 1:
            raise graph.refused(node, "strength", f"must be 1, as it always is here, is {strength:g}")
    if node.kind == "CFGNorm":
        walk.has_norm = True
    else:
        walk.notes.append(f"{node}: here every pixel of mask above 0 is painted and laid back by its weight")


def _flux_schedule(graph: Graph, node: Node, stage_kind: PaintKind) -> None:
    """FLUX's own shifts, which the fill service takes from the checkpoint."""
    if stage_kind != "fill":
        raise graph.refused(node, "model", f"{MODEL_IDS[stage_kind]} has no use for {node.kind}; it is for FLUX")
    for name, own in FLUX_SHIFTS.items():
        shift = graph.number(node, name, 0, 100)
        if shift != own:
            raise graph.refused(node, name, f"must be {own:g}, as it always is here, is {shift:g}")


def _lora(graph: Graph, node: Node, stage_kind: PaintKind, walk: _Walk) -> None:
    name = graph.text(node, "lora_name")
    if not name.strip():
        raise graph.refused(node, "lora_name", "must name a file, is empty")
    strength = graph.number(node, "strength_model", -100, 100)
    if strength == 0:
        walk.notes.append(f"{node}: left out, its strength_model is 0")
        return
    if strength != 1:
        raise graph.refused(node, "strength_model", f"must be 1, at which the services run a LoRA, is {strength:g}")
    if walk.lora is not None:
        raise graph.refused(
            node, "lora_name", f"must be the only LoRA, since profile fast has one; {shown_value(name)} is another"
        )
    walk.lora = Choice("fast", f"{node}: lora_name {shown_value(name)}: profile fast runs with the service's LoRA")
    walk.settings.append(Setting(f"IMGEDIT_{stage_kind.upper()}_LORA_FAST", _path(name), f"{node}: lora_name"))
    if node.kind == "LoraLoader" and graph.number(node, "strength_clip", -100, 100) != 0:
        walk.notes.append(f"{node}: its part for text encoders is left out, the transformer's is used")


def _path(name: str) -> str:
    """A file's name as the services take it, whatever the workflow's system."""
    return name.replace("\\", "/")


def _schedule_notes(walk: _Walk) -> list[str]:
    notes = []
    if not (walk.lora and walk.shift == LIGHTNING_SHIFT):
        own = f"a constant {LIGHTNING_SHIFT:g} with the LoRA" if walk.lora else "by the picture's size"
        notes.append(f"{walk.shifted_by}; here the shift is the schedule's own, {own}")
    if not walk.has_norm:
        notes.append("CFGNorm is not there; here guidance above 1 is always normalised, as it does at strength 1")
    return notes


def _check_name(graph: Graph, node: Node, name: str, stage_kind: PaintKind, walk: _Walk) -> None:
    """Refuse a file that names another model."""
    file = re.split(r"[/\\]", name)[-1].lower()
    fits = "fill" in file if stage_kind == "fill" else "qwen" in file and "edit" in file
    if fits:
        if stage_kind == "qwen_edit" and "2509" not in file:
            walk.notes.append(f"{node}: the name does not say 2509; the qwen_edit service runs {MODEL_IDS[stage_kind]}")
        return
    if any(family in file for family in FAMILIES):
        raise graph.refused(
            node, "unet_name", f"must be of {MODEL_IDS[stage_kind]}, which this graph feeds, is {shown_value(name)}"
        )
    walk.notes.append(
        f"{node}: nothing in {shown_value(name)} says which model it is; by the graph, {MODEL_IDS[stage_kind]}"
    )


@dataclass(frozen=True)
class Conditioning:
    """The conditioning of a sampler.

    encoder: the node with the text, None = zeroed. inpaint: the node that adds a mask.
    """

    encoder: Node | None
    guidance: Choice | None
    inpaint: Node | None


def conditioning(graph: Graph, sampler: Node, side: Literal["positive", "negative"]) -> Conditioning:
    """The way from a sampler to a text."""
    guidance, inpaint = None, None
    user, name = sampler, str(side)
    node, output = graph.linked(sampler, side)
    while node.kind not in TEXT_ENCODERS:
        if node.kind == "FluxGuidance":
            found = graph.number(node, "guidance", 0, MAX_GUIDANCE["fill"])
            guidance = guidance or Choice(found, f"{node}: guidance")
            user, name = node, "conditioning"
        elif node.kind == "InpaintModelConditioning":
            if (output == 0) != (side == "positive") or inpaint is not None:
                raise graph.refused(
                    user, name, f"must be the {side} side of one InpaintModelConditioning, is output {output}"
                )
            inpaint, user, name = node, node, side
        elif side == "negative":  # ConditioningZeroOut
            return Conditioning(None, guidance, inpaint)
        else:
            raise graph.refused(user, name, f"must lead to a prompt, leads to {node}")
        node, output = graph.linked(user, name)
    return Conditioning(node, guidance, inpaint)


def prompt(graph: Graph, encoder: Node) -> Choice:
    """The text of an encoder, and where it stands."""
    name = "text" if encoder.kind == "CLIPTextEncode" else "prompt"
    text = texts.normal(graph.text(encoder, name))
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise graph.refused(encoder, name, f"must have at most {MAX_PROMPT_CHARACTERS} characters, has {len(text)}")
    return Choice(text, f"{encoder}: {name}")


def check_clip(graph: Graph, encoder: Node, stage_kind: PaintKind) -> str | None:
    """Refuse text encoders of another model; a note on a file that is not read here."""
    node, _ = graph.linked(encoder, "clip")
    while node.kind not in CLIP_LOADERS:
        node, _ = graph.linked(node, "clip")  # a LoraLoader
    kind, needed = graph.text(node, "type"), CLIP_TYPES[stage_kind]
    file = node.inputs.get("clip_name")
    if kind != needed and stage_kind == "qwen_edit" and isinstance(file, str) and "qwen" in file.lower():
        return f"{node}: type {shown_value(kind)} has no part: the qwen_edit service loads its own text encoder"
    if kind != needed:
        raise graph.refused(
            node, "type", f"must be {shown_value(needed)}, for {MODEL_IDS[stage_kind]}, is {shown_value(kind)}"
        )
    if "GGUF" in node.kind:
        return f"{node}: text encoders come from the model's folder, not from GGUF files"
    return None
