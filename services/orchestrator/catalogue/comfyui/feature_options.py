"""The parts of a plan that one pass decides.

Options of its stages, its ranges, and the feature's id.
"""

from __future__ import annotations

from services.common import texts
from services.orchestrator.catalogue.comfyui import mask_nodes
from services.orchestrator.catalogue.comfyui.document import WorkflowError
from services.orchestrator.catalogue.comfyui.mask_nodes import Mask
from services.orchestrator.catalogue.comfyui.paint_passes import PaintPass
from services.orchestrator.catalogue.comfyui.plan import Choice, RangePlan

SHIPPED_RANGES = {
    "steps": (10, 50),
    "guidance_scale": (1.0, 15.0),
    "strength": (0.0, 1.0),
    "negative_scale": (1.0, 10.0),
}
"""Of the shipped catalogue, least and most; widened to take in what a workflow says."""


def feature_of(passes: tuple[PaintPass, ...]) -> str:
    """The id of the feature, as the shipped catalogue calls such a one."""
    last = passes[-1]
    if last.stage_kind == "fill":
        return "outpainting" if last.base.pad else "inpainting"
    if last.references:
        return "multi_image_editing"
    if last.base.pad:
        return "outpainting"
    return "appearance_editing" if last.mask else "semantic_editing"


def requires_mask(passes: tuple[PaintPass, ...], *, own: bool) -> Choice:
    """Whether people are to think of a mask. own: only the caller has one."""
    if own:
        return Choice(value=True, why="the caller sends mask_image")
    if passes[-1].stage_kind == "fill" and not passes[-1].base.pad:
        return Choice(value=True, why="BEN2's mask, or the caller's in its place")
    return Choice(value=False, why="no mask has to be sent")


def mask_options(mask: Mask) -> dict[str, Choice]:
    """The options of the mask stage; `own` holds those for the caller's mask."""
    numbers = {
        "threshold": (mask.threshold, mask_nodes.NEUTRAL_THRESHOLD),
        "grow_px": (mask.grow_px, 0),
        "feather_px": (mask.feather_px, 0),
    }
    options = {
        name: Choice(value, mask.reasons[name]) for name, (value, neutral) in numbers.items() if value != neutral
    }
    if mask.origin == "subject":
        choice = Choice("background", mask.reasons["invert"]) if mask.invert else Choice("subject", "as the mask is")
        return {"choose": choice, **options}
    if mask.invert:
        options = {"invert": Choice(value=True, why=mask.reasons["invert"]), **options}
    why = "has no part: without `segment` the mask is the caller's"
    found = {"choose": Choice("subject", why)}
    if options:
        found["own"] = Choice(options, "how the caller's mask is worked on")
    return found


def paint_options(paint_pass: PaintPass, *, is_last: bool) -> dict[str, Choice]:
    """The options in the chain itself.

    All values of a pass whose prompt is not the request's, and Qwen's special options.
    """
    options: dict[str, Choice] = {}
    if paint_pass.stage_kind == "qwen_edit":
        if paint_pass.references:
            names = ", ".join(map(str, paint_pass.references))
            options["max_references"] = Choice(len(paint_pass.references), f"Picture 2 and further: {names}")
        if paint_pass.negative is not None:
            options["automatic_negative_prompt"] = paint_pass.negative
        if paint_pass.base.cutout is not None:
            options["background"] = Choice("remove", f"{paint_pass.base.cutout}: its cut-out is edited, on white")
        elif paint_pass.mask is not None and paint_pass.mask.origin != "margins":
            options["background"] = Choice("keep", "what the mask leaves out keeps its pixels")
    if is_last:
        return options
    if paint_pass.stage_kind == "fill" and paint_pass.negative is not None:
        raise WorkflowError(
            f"{paint_pass.sampler}: cfg: must be 1 in a pass before another, is {paint_pass.numbers.cfg.value:g}: only "
            "the last pass has a negative prompt for FLUX.1-Fill"
        )
    if not texts.comparable(paint_pass.prompt.value).strip():
        raise WorkflowError(f"{paint_pass.prompt.why}: must not be empty in a pass before another")
    fixed = {
        "prompt": paint_pass.prompt,
        "steps": paint_pass.numbers.steps,
        "guidance_scale": paint_pass.guidance,
        "strength": paint_pass.numbers.strength,
    }
    return {**fixed, **options}


def parameters(last: PaintPass) -> dict[str, RangePlan]:
    """The numbers of the pass that the request speaks to."""
    choices = {"steps": last.numbers.steps, "guidance_scale": last.guidance, "strength": last.numbers.strength}
    if last.stage_kind == "fill" and last.negative is not None:
        choices["negative_scale"] = last.numbers.cfg
    return {name: _range(name, choice) for name, choice in choices.items()}


def _range(name: str, choice: Choice) -> RangePlan:
    least, most = SHIPPED_RANGES[name]
    found = RangePlan(choice.value, min(least, choice.value), max(most, choice.value), choice.why)
    widened = [
        *([f"min widened from {least:g}"] if found.min < least else []),
        *([f"max widened from {most:g}"] if found.max > most else []),
    ]
    return RangePlan(found.default, found.min, found.max, "; ".join([choice.why, *widened]))
