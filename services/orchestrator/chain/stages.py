"""The stages of a chain, one async function each: chain state in, result out.

Pixels are arrays here, without proto types. Array work runs in threads, so the event loop stays free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from imgedit.errors import ImageRejected, InternalError, InvalidArgument, Violation
from imgedit.imaging.images import Picture, resized
from imgedit.imaging.pixels import Pixels
from services.orchestrator.backends.clients import Painted, PaintOptions
from services.orchestrator.catalogue.experiments import (
    CompositeStage,
    ExtendStage,
    FillStage,
    MaskStage,
    PaintStage,
    QwenEditStage,
)
from services.orchestrator.chain.composite import composited, cut_out
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.extend import check_extended_size, extended
from services.orchestrator.chain.state import (
    ChainState,
    CompositeResult,
    CutOut,
    Extended,
    MaskResult,
    MaskSource,
    PaintResult,
    StageResult,
    Subject,
    TransparentResult,
)
from services.orchestrator.imaging import mask_checks, masks
from services.orchestrator.imaging.foreground_colours import ForegroundColours
from services.orchestrator.imaging.masks import MaskOptions
from services.orchestrator.imaging.work_area import MAX_ASPECT, WorkArea, looked_at
from services.orchestrator.request.parameters import PROFILE_NUMBERS, EditParameters

SEGMENT_SIDE = 1024
"""BEN2 looks at 1024 × 1024 px; a larger picture is sent at that size."""


async def segment(edit: EditContext, *, wants_colours: bool) -> Subject:
    """Run BEN2 on the image, with foreground colours if needed."""
    return await _subject_of(edit.picture, edit, wants_colours=wants_colours)


async def mask(state: ChainState, stage: MaskStage, edit: EditContext) -> MaskResult | CutOut:
    """Compute the mask alpha from the caller's mask or BEN2's, or cut out by it."""
    use = edit.parameters.region.use_of(stage)
    if use is None:
        raise InternalError("mask: the edit does not use this stage")
    if edit.mask is None:
        made = await asyncio.to_thread(_mask_of_subject, state, _subject_in(state), use.options, edit)
        remarks = mask_checks.remarks_on_subject
    else:
        mask_alpha = await asyncio.to_thread(mask_checks.mask_of_request, edit.mask, use.options)
        made, remarks = MaskResult(mask_alpha, "request", use.options), mask_checks.remarks_on_request
    if use.cuts_out:
        return CutOut(await asyncio.to_thread(_on_plain_ground, state.picture, made), use.options)
    return replace(made, warnings=await asyncio.to_thread(remarks, made.alpha))


async def extend(state: ChainState, stage: ExtendStage, edit: EditContext) -> Extended:
    """Add margins, pre-filled by reflection; they become the mask alpha."""
    if edit.parameters.extension is None:
        raise InternalError("extend: the edit says nothing of margins")
    margins = edit.parameters.extension.margins_of(edit.picture.size, stage.direction_fraction)
    check_extended_size(edit.picture.size, margins, edit.max_pixels)
    return await asyncio.to_thread(extended, state.picture, margins, stage.feather_px)


async def fill(state: ChainState, stage: FillStage, edit: EditContext) -> PaintResult | None:
    """FLUX.1-Fill paints the work area where the mask alpha is above 0.

    None at strength 0.
    """
    parameters = parameters_of(state, stage, edit)
    if parameters.steps_run == 0:
        return None
    area, mask_alpha = await asyncio.to_thread(fill_area, state, edit)
    rgb = await asyncio.to_thread(lambda: area.enter(state.picture.over_white()))
    painted = await edit.backends.fill(
        rgb, mask_alpha, options_of(parameters), deadline=edit.deadline, on_progress=edit.on_progress(stage.kind)
    )
    return await asyncio.to_thread(_at_full_size, painted, area, state.picture, stage)


async def qwen_edit(state: ChainState, stage: QwenEditStage, edit: EditContext) -> PaintResult | None:
    """Qwen-Image-Edit edits the work area by the prompt, with the references.

    None at strength 0.
    """
    parameters = parameters_of(state, stage, edit)
    if parameters.steps_run == 0:
        return None
    area, mask_alpha = await asyncio.to_thread(qwen_edit_area, state, edit)
    rgb = await asyncio.to_thread(lambda: area.enter(state.picture.over_white()))
    references = await references_of(stage, edit)
    painted = await edit.backends.qwen_edit(
        [rgb, *references],
        mask_alpha,
        options_of(parameters),
        deadline=edit.deadline,
        on_progress=edit.on_progress(stage.kind),
    )
    return await asyncio.to_thread(_at_full_size, painted, area, state.picture, stage)


def options_of(parameters: EditParameters) -> PaintOptions:
    """The parameters as a painting model takes them."""
    return PaintOptions(
        prompt=parameters.prompt,
        negative_prompt=parameters.negative_prompt,
        negative_scale=parameters.negative_scale,
        steps=parameters.steps,
        guidance_scale=parameters.guidance_scale,
        strength=parameters.strength,
        seed=parameters.seed,
        preview_every=parameters.preview_every,
        profile=PROFILE_NUMBERS[parameters.profile],
        region_steps=parameters.region_steps,
    )


def _at_full_size(painted: Painted, area: WorkArea, picture: Picture, stage: PaintStage) -> PaintResult:
    full = area.leave(painted.rgb, picture.rgb)
    return PaintResult(full, area, stage, painted.model, painted.warnings, painted.full_steps)


def parameters_of(state: ChainState, stage: FillStage | QwenEditStage, edit: EditContext) -> EditParameters:
    """The options of this stage, with rewritten prompts."""
    parameters = edit.parameters.at(stage)
    if state.prompts is None or stage.prompt is not None:
        return parameters
    return replace(parameters, prompt=state.prompts.prompt, negative_prompt=state.prompts.negative_prompt)


async def composite(state: ChainState, _stage: CompositeStage, edit: EditContext) -> CompositeResult:
    """The painted image over the original, by the mask alpha."""
    return await asyncio.to_thread(composited, state, postprocess=edit.parameters.postprocess)


async def finish_transparent(state: ChainState, edit: EditContext) -> TransparentResult:
    """The result on transparency, cut out by BEN2."""
    rgb = state.picture.rgb
    found = await _subject_of(Picture(rgb), edit, wants_colours=edit.parameters.postprocess)
    alpha = await asyncio.to_thread(mask_checks.mask_of_subject, found.alpha, MaskOptions("subject"))
    return TransparentResult(await asyncio.to_thread(cut_out, rgb, alpha, found.foreground_colours), found.model)


async def finish_unpainted(state: ChainState) -> CompositeResult:
    """The end of a chain that does not paint.

    The image, transparent where the mask or the subject's alpha is 0.
    """
    picture = state.picture
    if state.mask is None:
        found = _subject_in(state)
        mask_alpha, colours = found.alpha, found.foreground_colours
    else:
        mask_alpha, colours = state.mask.alpha, _cutout_colours(state.mask)
    alpha = mask_alpha if picture.alpha is None else np.minimum(mask_alpha, picture.alpha)
    cut = await asyncio.to_thread(cut_out, picture.rgb, alpha, colours)
    source: MaskSource = state.mask.source if state.mask else "segmentation"
    return CompositeResult(cut, mask_alpha, source)


STAGE_FUNCTIONS: dict[type, Callable[[ChainState, Any, EditContext], Awaitable[StageResult | None]]] = {
    MaskStage: mask,
    ExtendStage: extend,
    FillStage: fill,
    QwenEditStage: qwen_edit,
    CompositeStage: composite,
}


async def _subject_of(picture: Picture, edit: EditContext, *, wants_colours: bool) -> Subject:
    """BEN2's result for `picture`, at its size."""
    seen = await asyncio.to_thread(_as_segmented, picture)
    found = await edit.backends.segment(seen, wants_foreground=wants_colours, deadline=edit.deadline)
    alpha = await asyncio.to_thread(resized, found.alpha, picture.size, Image.Resampling.BILINEAR)
    colours = None if found.foreground is None else ForegroundColours(seen, found.foreground)
    return Subject(alpha, colours, found.model)


def _as_segmented(picture: Picture) -> Pixels:
    width, height = picture.size
    seen = picture.over_white()
    if width * height <= SEGMENT_SIDE * SEGMENT_SIDE:
        return seen
    return resized(seen, (SEGMENT_SIDE, SEGMENT_SIDE), Image.Resampling.LANCZOS)


def _subject_in(state: ChainState) -> Subject:
    """The subject of the input image.

    Raises `InvalidArgument` if the chain does not segment.
    """
    if state.subject is None:
        raise InvalidArgument.field(
            "mask_image", "this feature needs a mask (white = repaint)", korean="마스크가 필요합니다."
        )
    return state.subject


def _mask_of_subject(state: ChainState, found: Subject, options: MaskOptions, edit: EditContext) -> MaskResult:
    """The chosen part of BEN2's mask, with the foreground colours if needed."""
    made = MaskResult(mask_checks.mask_of_subject(found.alpha, options), "segmentation", options)
    if state.picture is not edit.picture:  # the composite since then has its own edges
        return made
    kept = 255 - masks.levelled(found.alpha, options) if options.keeps_subject else None
    return replace(made, kept_subject=kept, foreground_colours=found.foreground_colours)


def _cutout_colours(made: MaskResult) -> ForegroundColours | None:
    """Where the subject is what is left out, the edge is the background's."""
    return made.foreground_colours if made.kept_subject is None else None


def _on_plain_ground(picture: Picture, made: MaskResult) -> Picture:
    """The white part of the mask, cut out and laid on white."""
    return Picture(cut_out(picture.over_white(), made.alpha, _cutout_colours(made)).over_white())


def fill_area(state: ChainState, edit: EditContext) -> tuple[WorkArea, Pixels]:
    """Where FLUX.1-Fill works, and the mask that it is sent."""
    if state.mask is None:
        raise InternalError("fill: the chain has no mask before it")
    area = WorkArea.around(state.mask.alpha, edit.work_pixels.most, edit.work_pixels.least_of_fill)
    return area, area.enter_mask(state.mask.alpha)


def qwen_edit_area(state: ChainState, edit: EditContext) -> tuple[WorkArea, Pixels | None]:
    """Where Qwen-Image-Edit works, and the mask that it is sent, if any.

    Raises `ImageRejected` for an aspect that it does not read.
    """
    _check_aspects(state, edit)
    most, least = edit.work_pixels.most, edit.work_pixels.least_of_qwen_edit
    if state.mask is None:
        return WorkArea.whole(state.picture.size, most, least), None
    area = WorkArea.around(state.mask.alpha, most, least)
    return area, area.enter_mask(state.mask.alpha)


async def references_of(stage: QwenEditStage, edit: EditContext) -> list[Pixels]:
    """The references as the model looks at them."""
    shown = edit.references[: stage.max_references]
    return [await asyncio.to_thread(looked_at, image, edit.work_pixels.most) for image in shown]


def _check_aspects(state: ChainState, edit: EditContext) -> None:
    """Refuse what Qwen2.5-VL refuses to look at."""
    named = [
        ("input_image", state.picture.rgb),
        *((f"reference_images[{i}]", r) for i, r in enumerate(edit.references)),
    ]
    for name, rgb in named:
        width, height = _size(rgb)
        if max(width, height) > MAX_ASPECT * min(width, height):
            description = f"is {width}x{height} px; this model reads pictures up to {MAX_ASPECT}:1"
            raise ImageRejected(
                f"{name}: {description}",
                korean=f"이 모델은 가로세로 비율 {MAX_ASPECT}:1까지만 처리합니다.",
                violations=[Violation(name, description)],
            )


def _size(rgb: Pixels) -> tuple[int, int]:
    return rgb.shape[1], rgb.shape[0]
