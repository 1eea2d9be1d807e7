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

from imgedit.errors import ImageRejected, InternalError, InvalidArgument, NoSubjectFound, Violation
from imgedit.images import Picture, Pixels, resized
from services.orchestrator import masks
from services.orchestrator.backends import Segmented
from services.orchestrator.canvas import Canvas, Edit, MaskSource
from services.orchestrator.catalogue import CompositeStage, ExtendStage, FillStage, MaskStage, QwenEditStage
from services.orchestrator.colour_match import match_colours
from services.orchestrator.composite import composited
from services.orchestrator.outpaint import check_canvas, extended, margins_of
from services.orchestrator.parameters import PROFILE_NUMBERS
from services.orchestrator.work_area import WorkArea

SEGMENT_SIDE = 1024
"""BEN2 looks at 1024 × 1024 px; a larger picture is sent at that size."""

MAX_ASPECT = 200
"""Of Qwen2.5-VL's image processor, long side to short."""


async def segment(edit: Edit) -> Segmented:
    """BEN2's alpha of the picture, at the picture's size."""
    size = edit.picture.size
    seen = await asyncio.to_thread(_as_segmented, edit.picture)
    found = await edit.backends.segment(seen, deadline=edit.deadline)
    alpha = await asyncio.to_thread(resized, found.alpha, size, Image.Resampling.BILINEAR)
    return Segmented(alpha, found.model)


async def mask(canvas: Canvas, stage: MaskStage, edit: Edit) -> Canvas:
    """The weight: the caller's mask as it is, or the chosen part of the segmentation, grown and feathered."""
    if edit.mask is not None:
        if not edit.mask.any():
            raise InvalidArgument.field(
                "mask_image",
                "the mask is black everywhere, so there is nothing to repaint; paint the region white",
                korean="마스크가 전부 검은색이라 다시 그릴 영역이 없습니다. 바꿀 영역을 흰색으로 칠하세요.",
            )
        return replace(canvas, weight=edit.mask, mask_source="request")
    if canvas.subject is None:
        raise InvalidArgument.field(
            "mask_image", "this feature needs a mask (white = repaint)", korean="마스크가 필요합니다."
        )
    alpha = (await canvas.subject).alpha
    weight = await asyncio.to_thread(_weight_of, alpha, stage)
    return replace(canvas, weight=weight, mask_source="segmentation")


async def extend(canvas: Canvas, stage: ExtendStage, edit: Edit) -> Canvas:
    """Margins around the picture, pre-filled by reflection; the weight is the margins."""
    size = edit.picture.size
    margins = edit.parameters.margins or margins_of(edit.parameters, size, stage.direction_fraction)
    check_canvas(size, margins, edit.max_pixels)
    return await asyncio.to_thread(extended, canvas, margins, stage.feather_px)


async def fill(canvas: Canvas, stage: FillStage, edit: Edit) -> Canvas:
    """FLUX.1-Fill paints the work area where the weight is above 0."""
    parameters = edit.parameters.at(stage)
    if parameters.steps_run == 0:
        return canvas
    if canvas.weight is None:
        raise InternalError("fill: the chain has no mask before it")
    area = await asyncio.to_thread(WorkArea.around, canvas.weight, edit.max_work_pixels)
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
    return replace(canvas, painted=full, work_size=area.padded, models=(*canvas.models, painted.model))


async def qwen_edit(canvas: Canvas, stage: QwenEditStage, edit: Edit) -> Canvas:
    """Qwen-Image-Edit edits the work area by the prompt, with the references beside it."""
    parameters = edit.parameters.at(stage)
    if parameters.steps_run == 0:
        return canvas
    _check_aspects(canvas, edit)
    area = WorkArea.of(_size(canvas.rgb), edit.max_work_pixels)
    rgb = await asyncio.to_thread(lambda: area.enter(Picture(canvas.rgb, canvas.alpha).over_white()))
    shown = edit.references[: stage.max_references]
    references = [await asyncio.to_thread(_shrunk, image, edit.max_work_pixels) for image in shown]
    painted = await edit.backends.qwen_edit(
        [rgb, *references],
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
    return replace(canvas, painted=full, work_size=area.padded, models=(*canvas.models, painted.model))


async def composite(canvas: Canvas, _stage: CompositeStage, edit: Edit) -> Canvas:
    """The painted pixels over the picture's, by the weight; where it is 0 the picture's bytes are untouched."""
    if canvas.painted is None:
        return replace(canvas, weight=np.zeros(canvas.rgb.shape[:2], np.uint8))
    painted = canvas.painted
    if edit.parameters.postprocess and canvas.weight is not None:
        seen = Picture(canvas.rgb, canvas.alpha).over_white()
        painted = await asyncio.to_thread(match_colours, painted, seen, canvas.weight)
    return await asyncio.to_thread(composited, canvas, painted)


async def cut_out(canvas: Canvas) -> Canvas:
    """The end of a chain that paints nothing: the picture, transparent where the mask or the subject's alpha is 0."""
    weight = canvas.weight
    if weight is None:
        if canvas.subject is None:
            raise InternalError("the chain has no segment")
        weight = (await canvas.subject).alpha
    alpha = weight if canvas.alpha is None else np.minimum(weight, canvas.alpha)
    source: MaskSource = "segmentation" if canvas.mask_source == "whole" else canvas.mask_source
    return replace(canvas, alpha=alpha, weight=weight, mask_source=source)


OF_KIND: dict[type, Callable[[Canvas, Any, Edit], Awaitable[Canvas]]] = {
    MaskStage: mask,
    ExtendStage: extend,
    FillStage: fill,
    QwenEditStage: qwen_edit,
    CompositeStage: composite,
}


def _as_segmented(picture: Picture) -> Pixels:
    width, height = picture.size
    seen = picture.over_white()
    if width * height <= SEGMENT_SIDE * SEGMENT_SIDE:
        return seen
    return resized(seen, (SEGMENT_SIDE, SEGMENT_SIDE), Image.Resampling.LANCZOS)


def _weight_of(alpha: Pixels, stage: MaskStage) -> Pixels:
    """The chosen part of a soft alpha as a weight. Raises `NoSubjectFound` for an empty or a full mask."""
    subject = masks.relevel(alpha, stage.threshold)
    weight = subject if stage.choose == "subject" else 255 - subject
    if subject.max() < 128 or not weight.any():
        is_empty = subject.max() < 128
        found = "no subject" if is_empty else "nothing but subject"
        found_korean = "피사체를 찾지 못해" if is_empty else "피사체만 찾아 배경이 없어"
        raise NoSubjectFound(
            f"mask_image: BEN2 finds {found} in the picture, so there is no mask to work with; use a clearer or larger "
            "picture, another threshold in the catalogue, or your own mask_image (white = repaint)",
            korean=f"BEN2가 이미지에서 {found_korean} 마스크를 만들 수 없습니다. 더 선명하거나 큰 이미지를 쓰거나, "
            "설정(카탈로그)의 threshold를 바꾸거나, 마스크(mask_image, 흰색 = 다시 그릴 영역)를 직접 지정하세요.",
        )
    return masks.feather(masks.grow(weight, stage.grow_px), stage.feather_px)


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


def _shrunk(rgb: Pixels, max_pixels: int) -> Pixels:
    area = WorkArea.of(_size(rgb), max_pixels)
    return resized(rgb, area.content, Image.Resampling.LANCZOS)
