"""The stages of a chain, one async function each: chain state in, chain state out.

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
from imgedit.imaging.images import Picture, Pixels, resized
from services.orchestrator.backends.clients import Painted, PaintOptions
from services.orchestrator.catalogue.models import (
    CompositeStage,
    ExtendStage,
    FillStage,
    MaskStage,
    PaintStage,
    QwenEditStage,
)
from services.orchestrator.chain.composite import composited, cut_out
from services.orchestrator.chain.extend import check_canvas, extended
from services.orchestrator.chain.state import ChainState, EditContext, MaskSource, Subject
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


async def mask(state: ChainState, stage: MaskStage, edit: EditContext) -> ChainState:
    """Compute the mask alpha from the caller's mask or from BEN2's, or cut out by it."""
    use = edit.parameters.region.use_of(stage)
    if use is None:
        raise InternalError("mask: the edit does not use this stage")
    if edit.mask is None:
        found = await _found_subject(edit)
        mask_alpha = await asyncio.to_thread(mask_checks.of_subject, found.alpha, use.options)
        state = replace(state, mask_options=use.options, mask_source="segmentation")
        remarks = mask_checks.remarks_on_subject
        if state.rgb is edit.picture.rgb:  # the composite since then has its own edges
            state = await asyncio.to_thread(_with_colours, state, found, use.options)
    else:
        mask_alpha = await asyncio.to_thread(mask_checks.of_request, edit.mask, use.options)
        state = replace(state, mask_options=use.options, mask_source="request")
        remarks = mask_checks.remarks_on_request
    if use.cuts_out:
        return await asyncio.to_thread(_on_plain_ground, state, mask_alpha)
    warnings = await asyncio.to_thread(remarks, mask_alpha)
    return replace(state, mask_alpha=mask_alpha, warnings=(*state.warnings, *warnings))


async def extend(state: ChainState, stage: ExtendStage, edit: EditContext) -> ChainState:
    """Add margins, pre-filled by reflection; they become the mask alpha."""
    if edit.parameters.extension is None:
        raise InternalError("extend: the edit says nothing of margins")
    margins = edit.parameters.extension.margins_of(edit.picture.size, stage.direction_fraction)
    check_canvas(edit.picture.size, margins, edit.max_pixels)
    return await asyncio.to_thread(extended, state, margins, stage.feather_px)


async def fill(state: ChainState, stage: FillStage, edit: EditContext) -> ChainState:
    """FLUX.1-Fill paints the work area where the mask alpha is above 0."""
    parameters = await _parameters(stage, edit)
    if parameters.steps_run == 0:
        return state
    if state.mask_alpha is None:
        raise InternalError("fill: the chain has no mask before it")
    work = edit.work_pixels
    area = await asyncio.to_thread(WorkArea.around, state.mask_alpha, work.most, work.least_of_fill)
    rgb = await asyncio.to_thread(lambda: area.enter(Picture(state.rgb, state.alpha).over_white()))
    mask_alpha = await asyncio.to_thread(area.enter_mask, state.mask_alpha)
    painted = await edit.backends.fill(
        rgb, mask_alpha, _options(parameters), deadline=edit.deadline, on_progress=edit.on_progress(stage.kind)
    )
    full = await asyncio.to_thread(area.leave, painted.rgb, state.rgb)
    return _painted(state, stage, full, area, painted)


async def qwen_edit(state: ChainState, stage: QwenEditStage, edit: EditContext) -> ChainState:
    """Qwen-Image-Edit edits the work area by the prompt, with the references."""
    parameters = await _parameters(stage, edit)
    if parameters.steps_run == 0:
        return state
    _check_aspects(state, edit)
    work = edit.work_pixels
    area, mask_alpha = await asyncio.to_thread(_area_and_mask, state, work.most, work.least_of_qwen_edit)
    rgb = await asyncio.to_thread(lambda: area.enter(Picture(state.rgb, state.alpha).over_white()))
    shown = edit.references[: stage.max_references]
    references = [await asyncio.to_thread(looked_at, image, work.most) for image in shown]
    painted = await edit.backends.qwen_edit(
        [rgb, *references],
        mask_alpha,
        _options(parameters),
        deadline=edit.deadline,
        on_progress=edit.on_progress(stage.kind),
    )
    full = await asyncio.to_thread(area.leave, painted.rgb, state.rgb)
    return _painted(state, stage, full, area, painted)


def _options(parameters: EditParameters) -> PaintOptions:
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


def _painted(state: ChainState, stage: PaintStage, full: Pixels, area: WorkArea, painted: Painted) -> ChainState:
    return replace(
        state,
        painted=full,
        area=area,
        models=(*state.models, painted.model),
        warnings=(*state.warnings, *painted.warnings),
        full_steps=(*state.full_steps, (stage, painted.full_steps)),
    )


async def _parameters(stage: FillStage | QwenEditStage, edit: EditContext) -> EditParameters:
    """The options of this stage, with rewritten prompts."""
    parameters = edit.parameters.at(stage)
    if edit.pending.texts is None or stage.prompt is not None:
        return parameters
    texts = await edit.pending.texts
    return replace(parameters, prompt=texts.prompt, negative_prompt=texts.negative_prompt)


async def composite(state: ChainState, _stage: CompositeStage, edit: EditContext) -> ChainState:
    """The painted image over the original, by the mask alpha."""
    return await asyncio.to_thread(composited, state, postprocess=edit.parameters.postprocess)


async def finish_transparent(state: ChainState, edit: EditContext) -> ChainState:
    """The result on transparency, cut out by BEN2."""
    found = await _subject_of(Picture(state.rgb), edit, wants_colours=edit.parameters.postprocess)
    alpha = await asyncio.to_thread(mask_checks.of_subject, found.alpha, MaskOptions("subject"))
    cut = await asyncio.to_thread(cut_out, state.rgb, alpha, found.foreground_colours)
    return replace(state, rgb=cut.rgb, alpha=cut.alpha, models=(*state.models, found.model))


async def finish_unpainted(state: ChainState, edit: EditContext) -> ChainState:
    """The end of a chain that does not paint.

    The image, transparent where the mask or the subject's alpha is 0.
    """
    mask_alpha, foreground_colours = state.mask_alpha, state.foreground_colours if state.kept_subject is None else None
    if mask_alpha is None:
        found = await _found_subject(edit)
        mask_alpha, foreground_colours = found.alpha, found.foreground_colours
    alpha = mask_alpha if state.alpha is None else np.minimum(mask_alpha, state.alpha)
    cut = await asyncio.to_thread(cut_out, state.rgb, alpha, foreground_colours)
    source: MaskSource = "segmentation" if state.mask_source == "whole" else state.mask_source
    return replace(state, rgb=cut.rgb, alpha=cut.alpha, mask_alpha=mask_alpha, mask_source=source)


OF_KIND: dict[type, Callable[[ChainState, Any, EditContext], Awaitable[ChainState]]] = {
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


async def _found_subject(edit: EditContext) -> Subject:
    if edit.pending.subject is None:
        raise InvalidArgument.field(
            "mask_image", "this feature needs a mask (white = repaint)", korean="마스크가 필요합니다."
        )
    return await edit.pending.subject


def _with_colours(state: ChainState, found: Subject, options: MaskOptions) -> ChainState:
    """The foreground colours, if the subject is kept or cut out.

    The model may change all of it.
    """
    kept = 255 - masks.levelled(found.alpha, options) if options.keeps_subject else None
    return replace(state, kept_subject=kept, foreground_colours=found.foreground_colours)


def _on_plain_ground(state: ChainState, mask_alpha: Pixels) -> ChainState:
    """The white part of the mask on a white ground.

    The model may change all of it.
    """
    rgb = Picture(state.rgb, state.alpha).over_white()
    # If the subject is left out, the edge belongs to the background.
    cut = cut_out(rgb, mask_alpha, state.foreground_colours if state.kept_subject is None else None)
    return replace(
        state, rgb=cut.over_white(), alpha=None, mask_source="whole", kept_subject=None, foreground_colours=None
    )


def _area_and_mask(state: ChainState, max_pixels: int, min_pixels: int) -> tuple[WorkArea, Pixels | None]:
    """The work area for a model that can work without a mask, and its mask."""
    if state.mask_alpha is None:
        return WorkArea.of(_size(state.rgb), max_pixels, min_pixels), None
    area = WorkArea.around(state.mask_alpha, max_pixels, min_pixels)
    return area, area.enter_mask(state.mask_alpha)


def _check_aspects(state: ChainState, edit: EditContext) -> None:
    """Reject images that Qwen2.5-VL cannot read."""
    named = [("input_image", state.rgb), *((f"reference_images[{i}]", r) for i, r in enumerate(edit.references))]
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
