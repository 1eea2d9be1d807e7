"""The stages of a chain, each one async function: what the edit has made so far in, one thing more out.

Pixels are arrays; proto types, the catalogue's file and the wire are unknown here, and so is the order of the stages.
Array work runs in threads, so the event loop stays free.
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
from services.orchestrator.backends.clients import Painted
from services.orchestrator.catalogue.models import CompositeStage, ExtendStage, FillStage, MaskStage, QwenEditStage
from services.orchestrator.chain.composite import composited, cut_out
from services.orchestrator.chain.extend import check_canvas, extended
from services.orchestrator.chain.state import Canvas, Edit, MaskSource, Subject
from services.orchestrator.imaging import mask_alpha, masks
from services.orchestrator.imaging.foreground_colours import OwnColours
from services.orchestrator.imaging.masks import MaskOptions
from services.orchestrator.imaging.work_area import MAX_ASPECT, WorkArea, looked_at
from services.orchestrator.request.parameters import PROFILE_NUMBERS, EditParameters

SEGMENT_SIDE = 1024
"""BEN2 looks at 1024 × 1024 px; a larger picture is sent at that size."""


async def segment(edit: Edit, *, wants_colours: bool) -> Subject:
    """What BEN2 finds in the picture, and its own colours where they are wanted."""
    return await _subject_of(edit.picture, edit, wants_colours=wants_colours)


async def mask(canvas: Canvas, stage: MaskStage, edit: Edit) -> Canvas:
    """The weight: the caller's mask or a part of BEN2's, worked on as asked; or the cut-out that it makes."""
    use = edit.parameters.region.use_of(stage)
    if use is None:
        raise InternalError("mask: the edit does not use this stage")
    if edit.mask is None:
        found = await _found_subject(canvas)
        weight = await asyncio.to_thread(mask_alpha.of_subject, found.alpha, use.options)
        canvas = replace(canvas, mask_options=use.options, mask_source="segmentation")
        remarks = mask_alpha.remarks_on_subject
        if canvas.rgb is edit.picture.rgb:  # what was painted over it since has edges of its own
            canvas = await asyncio.to_thread(_with_colours, canvas, found, use.options)
    else:
        weight = await asyncio.to_thread(mask_alpha.of_request, edit.mask, use.options)
        canvas = replace(canvas, mask_options=use.options, mask_source="request")
        remarks = mask_alpha.remarks_on_request
    if use.cuts_out:
        return await asyncio.to_thread(_on_plain_ground, canvas, weight)
    warnings = await asyncio.to_thread(remarks, weight)
    return replace(canvas, weight=weight, warnings=(*canvas.warnings, *warnings))


async def extend(canvas: Canvas, stage: ExtendStage, edit: Edit) -> Canvas:
    """Margins around the picture, pre-filled by reflection; the weight is the margins."""
    if edit.parameters.extension is None:
        raise InternalError("extend: the edit says nothing of margins")
    margins = edit.parameters.extension.margins_of(edit.picture.size, stage.direction_fraction)
    check_canvas(edit.picture.size, margins, edit.max_pixels)
    return await asyncio.to_thread(extended, canvas, margins, stage.feather_px)


async def fill(canvas: Canvas, stage: FillStage, edit: Edit) -> Canvas:
    """FLUX.1-Fill paints the work area where the weight is above 0."""
    parameters = await _parameters(canvas, stage, edit)
    if parameters.steps_run == 0:
        return canvas
    if canvas.weight is None:
        raise InternalError("fill: the chain has no mask before it")
    work = edit.work_pixels
    area = await asyncio.to_thread(WorkArea.around, canvas.weight, work.most, work.least_of_fill)
    rgb = await asyncio.to_thread(lambda: area.enter(Picture(canvas.rgb, canvas.alpha).over_white()))
    weight = await asyncio.to_thread(area.enter_mask, canvas.weight)
    painted = await edit.backends.fill(
        rgb,
        weight,
        prompt=parameters.prompt,
        negative_prompt=parameters.negative_prompt,
        negative_scale=parameters.negative_scale,
        steps=parameters.steps,
        guidance_scale=parameters.guidance_scale,
        strength=parameters.strength,
        seed=parameters.seed,
        preview_every=parameters.preview_every,
        profile=PROFILE_NUMBERS[parameters.profile],
        deadline=edit.deadline,
        on_progress=edit.on_progress(stage.kind),
    )
    full = await asyncio.to_thread(area.leave, painted.rgb, canvas.rgb)
    return _painted(canvas, full, area, painted)


async def qwen_edit(canvas: Canvas, stage: QwenEditStage, edit: Edit) -> Canvas:
    """Qwen-Image-Edit edits the work area by the prompt, with the references beside it."""
    parameters = await _parameters(canvas, stage, edit)
    if parameters.steps_run == 0:
        return canvas
    _check_aspects(canvas, edit)
    work = edit.work_pixels
    area, weight = await asyncio.to_thread(_area_and_mask, canvas, work.most, work.least_of_qwen_edit)
    rgb = await asyncio.to_thread(lambda: area.enter(Picture(canvas.rgb, canvas.alpha).over_white()))
    shown = edit.references[: stage.max_references]
    references = [await asyncio.to_thread(looked_at, image, work.most) for image in shown]
    painted = await edit.backends.qwen_edit(
        [rgb, *references],
        mask=weight,
        prompt=parameters.prompt,
        negative_prompt=parameters.negative_prompt,
        true_cfg_scale=parameters.guidance_scale,
        steps=parameters.steps,
        strength=parameters.strength,
        seed=parameters.seed,
        preview_every=parameters.preview_every,
        profile=PROFILE_NUMBERS[parameters.profile],
        deadline=edit.deadline,
        on_progress=edit.on_progress(stage.kind),
    )
    full = await asyncio.to_thread(area.leave, painted.rgb, canvas.rgb)
    return _painted(canvas, full, area, painted)


def _painted(canvas: Canvas, full: Pixels, area: WorkArea, painted: Painted) -> Canvas:
    return replace(
        canvas,
        painted=full,
        area=area,
        models=(*canvas.models, painted.model),
        warnings=(*canvas.warnings, *painted.warnings),
    )


async def _parameters(canvas: Canvas, stage: FillStage | QwenEditStage, edit: Edit) -> EditParameters:
    """What this stage runs with; the request's prompts as they were rewritten."""
    parameters = edit.parameters.at(stage)
    if canvas.texts is None or stage.prompt is not None:
        return parameters
    texts = await canvas.texts
    return replace(parameters, prompt=texts.prompt, negative_prompt=texts.negative_prompt)


async def composite(canvas: Canvas, _stage: CompositeStage, edit: Edit) -> Canvas:
    """What was painted over the picture, by the weight."""
    return await asyncio.to_thread(composited, canvas, postprocess=edit.parameters.postprocess)


async def finish_transparent(canvas: Canvas, edit: Edit) -> Canvas:
    """The result, transparent around the subject that BEN2 finds in it."""
    found = await _subject_of(Picture(canvas.rgb), edit, wants_colours=edit.parameters.postprocess)
    alpha = await asyncio.to_thread(mask_alpha.of_subject, found.alpha, MaskOptions("subject"))
    cut = await asyncio.to_thread(cut_out, canvas.rgb, alpha, found.own_colours)
    return replace(canvas, rgb=cut.rgb, alpha=cut.alpha, models=(*canvas.models, found.model))


async def finish_unpainted(canvas: Canvas) -> Canvas:
    """The end of a chain that paints nothing: the picture, transparent where the mask or the subject's alpha is 0."""
    weight, own_colours = canvas.weight, canvas.own_colours if canvas.kept_subject is None else None
    if weight is None:
        found = await _found_subject(canvas)
        weight, own_colours = found.alpha, found.own_colours
    alpha = weight if canvas.alpha is None else np.minimum(weight, canvas.alpha)
    cut = await asyncio.to_thread(cut_out, canvas.rgb, alpha, own_colours)
    source: MaskSource = "segmentation" if canvas.mask_source == "whole" else canvas.mask_source
    return replace(canvas, rgb=cut.rgb, alpha=cut.alpha, weight=weight, mask_source=source)


OF_KIND: dict[type, Callable[[Canvas, Any, Edit], Awaitable[Canvas]]] = {
    MaskStage: mask,
    ExtendStage: extend,
    FillStage: fill,
    QwenEditStage: qwen_edit,
    CompositeStage: composite,
}


async def _subject_of(picture: Picture, edit: Edit, *, wants_colours: bool) -> Subject:
    """What BEN2 finds in `picture`, at its size."""
    seen = await asyncio.to_thread(_as_segmented, picture)
    found = await edit.backends.segment(seen, wants_foreground=wants_colours, deadline=edit.deadline)
    alpha = await asyncio.to_thread(resized, found.alpha, picture.size, Image.Resampling.BILINEAR)
    colours = None if found.foreground is None else OwnColours(seen, found.foreground)
    return Subject(alpha, colours, found.model)


def _as_segmented(picture: Picture) -> Pixels:
    width, height = picture.size
    seen = picture.over_white()
    if width * height <= SEGMENT_SIDE * SEGMENT_SIDE:
        return seen
    return resized(seen, (SEGMENT_SIDE, SEGMENT_SIDE), Image.Resampling.LANCZOS)


async def _found_subject(canvas: Canvas) -> Subject:
    if canvas.subject is None:
        raise InvalidArgument.field(
            "mask_image", "this feature needs a mask (white = repaint)", korean="마스크가 필요합니다."
        )
    return await canvas.subject


def _with_colours(canvas: Canvas, found: Subject, options: MaskOptions) -> Canvas:
    """What is needed to keep the subject, or to cut it out, in its own colours."""
    kept = 255 - masks.levelled(found.alpha, options) if options.keeps_subject else None
    return replace(canvas, kept_subject=kept, own_colours=found.own_colours)


def _on_plain_ground(canvas: Canvas, weight: Pixels) -> Canvas:
    """The white part of the mask, cut out and laid on white: all of it is the model's."""
    rgb = Picture(canvas.rgb, canvas.alpha).over_white()
    # Where the subject is what is left out, the edge is the background's.
    cut = cut_out(rgb, weight, canvas.own_colours if canvas.kept_subject is None else None)
    return replace(canvas, rgb=cut.over_white(), alpha=None, mask_source="whole", kept_subject=None, own_colours=None)


def _area_and_mask(canvas: Canvas, max_pixels: int, min_pixels: int) -> tuple[WorkArea, Pixels | None]:
    """Where a model works that can do without a mask, and the mask that it is sent."""
    if canvas.weight is None:
        return WorkArea.of(_size(canvas.rgb), max_pixels, min_pixels), None
    area = WorkArea.around(canvas.weight, max_pixels, min_pixels)
    return area, area.enter_mask(canvas.weight)


def _check_aspects(canvas: Canvas, edit: Edit) -> None:
    """Refuse what Qwen2.5-VL refuses to look at."""
    named = [("input_image", canvas.rgb), *((f"reference_images[{i}]", r) for i, r in enumerate(edit.references))]
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
