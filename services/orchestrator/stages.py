"""The stages of a chain, each one async function: what the edit has made so far in, one thing more out.

`run` walks the chain of a feature. Pixels are arrays; proto types, the catalogue's file and the wire are unknown here.
Array work runs in threads, so the event loop stays free.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, TypeVar

import numpy as np
from PIL import Image

from imgedit.errors import (
    ImageRejected,
    ImgeditError,
    InternalError,
    InvalidArgument,
    NoSubjectFound,
    Violation,
)
from imgedit.images import MAX_SIDE, Picture, Pixels, blend, resized
from services.orchestrator import directions, masks
from services.orchestrator.backends import Backends, ModelUse, OnProgress, Segmented
from services.orchestrator.catalogue import (
    CompositeStage,
    ExtendStage,
    Feature,
    FillStage,
    MaskStage,
    QwenEditStage,
    SegmentStage,
)
from services.orchestrator.colour_match import match_colours
from services.orchestrator.parameters import MAX_MARGIN_PX, PROFILE_NUMBERS, EditParameters, Margins
from services.orchestrator.work_area import WorkArea

SEGMENT_SIDE = 1024
"""BEN2 looks at 1024 × 1024 px; a larger picture is sent at that size."""

T = TypeVar("T")

MAX_ASPECT = 200
"""Of Qwen2.5-VL's image processor, long side to short."""

MaskSource = Literal["whole", "segmentation", "request", "margins"]


@dataclass(frozen=True)
class Edit:
    """What stays the same during one edit.

    mask: the caller's (H, W) uint8 weight, or None. max_pixels bounds an extended picture, max_work_pixels what a model
    is sent. deadline: on the `time.monotonic` clock. on_stage(name, index,
    count) is called when a stage begins, on_progress(stage) gives the listener for a stage's own reports.
    """

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]
    parameters: EditParameters
    backends: Backends
    max_pixels: int
    max_work_pixels: int
    deadline: float
    on_stage: Callable[[str, int, int], None]
    on_progress: Callable[[str], OnProgress]


@dataclass(frozen=True)
class Canvas:
    """What the chain has made so far.

    rgb, alpha: the picture, with its margins once it is extended. weight: (H, W) uint8 of the composite, None = the
    whole picture. painted: the model's picture at the canvas's size; None = nothing was painted. subject: the
    running segmentation, which stages that need it await.
    """

    rgb: Pixels
    alpha: Pixels | None
    weight: Pixels | None = None
    mask_source: MaskSource = "whole"
    margins: Margins | None = None
    painted: Pixels | None = None
    work_size: tuple[int, int] = (0, 0)
    models: tuple[ModelUse, ...] = ()
    subject: asyncio.Task[Segmented] | None = None


@dataclass(frozen=True)
class Outcome:
    """A finished edit. `seconds` per stage, in the order in which the stages began."""

    canvas: Canvas
    subject_alpha: Pixels | None
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


@dataclass
class Clock:
    """Measures stages; a stage that runs beside others is measured by itself."""

    seconds: dict[str, float] = field(default_factory=dict)

    async def measure(self, stage: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` and note how long it took."""
        started = time.perf_counter()
        try:
            return await work()
        finally:
            self.seconds[stage] = time.perf_counter() - started


async def run(feature: Feature, edit: Edit) -> Outcome:
    """Walk the chain. Leaving early, by an error or a cancel, ends all that still runs."""
    canvas = Canvas(edit.picture.rgb, edit.picture.alpha)
    clock = Clock()
    try:
        for index, stage in enumerate(feature.stages, start=1):
            edit.on_stage(stage.kind, index, len(feature.stages))
            clock.seconds[stage.kind] = 0.0  # holds its place in the order of the stages
            if isinstance(stage, SegmentStage):
                work = asyncio.create_task(clock.measure(stage.kind, lambda: segment(edit)))
                work.add_done_callback(_retrieve)
                canvas = replace(canvas, subject=work)
            else:
                if isinstance(stage, MaskStage) and canvas.subject is not None and edit.mask is None:
                    await canvas.subject  # before the clock: waiting is the segmentation's time
                step = partial(_STAGES[type(stage)], canvas, stage, edit)
                canvas = await clock.measure(stage.kind, step)
        subject, warnings = await _settled_subject(canvas)
    finally:
        if canvas.subject is not None:
            canvas.subject.cancel()
    if subject is not None:
        canvas = replace(canvas, models=(subject.model, *canvas.models))
    return Outcome(canvas, subject.alpha if subject else None, clock.seconds, warnings)


def _retrieve(work: asyncio.Task[Segmented]) -> None:
    """Look at a failure that nothing awaited, because another stage failed first; asyncio would log it as lost."""
    if not work.cancelled():
        work.exception()


async def _settled_subject(canvas: Canvas) -> tuple[Segmented | None, tuple[str, ...]]:
    """The segmentation; its failure is a warning, since what depended on it would have failed before."""
    if canvas.subject is None:
        return None, ()
    try:
        return await canvas.subject, ()
    except ImgeditError as error:
        return None, (f"the cut-out could not be made: {error.message}",)


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
    margins = edit.parameters.margins or _margins_of(edit.parameters, size, stage.direction_fraction)
    _check_canvas(size, margins, edit.max_pixels)
    return await asyncio.to_thread(_extended, canvas, margins, stage.feather_px)


async def fill(canvas: Canvas, stage: FillStage, edit: Edit) -> Canvas:
    """FLUX.1-Fill paints the work area where the weight is above 0."""
    parameters = edit.parameters
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
    parameters = edit.parameters
    if parameters.steps_run == 0:
        return canvas
    _check_aspects(canvas, edit)
    area = WorkArea.of(_size(canvas.rgb), edit.max_work_pixels)
    rgb = await asyncio.to_thread(lambda: area.enter(Picture(canvas.rgb, canvas.alpha).over_white()))
    references = [await asyncio.to_thread(_shrunk, image, edit.max_work_pixels) for image in edit.references]
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
    return await asyncio.to_thread(_composited, canvas, painted)


_STAGES: dict[type, Callable[[Canvas, Any, Edit], Awaitable[Canvas]]] = {
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


def _margins_of(parameters: EditParameters, size: tuple[int, int], fraction: float) -> Margins:
    """Margins from the aspect or, without one, from the direction words of the prompt."""
    width, height = size
    if parameters.aspect is not None:
        across, down = parameters.aspect
        more_width = max(0, round(height * across / down) - width)
        more_height = max(0, round(width * down / across) - height)
        margins = Margins(
            more_width // 2, more_width - more_width // 2, more_height // 2, more_height - more_height // 2
        )
        if not margins:
            raise InvalidArgument.field("outpaint.aspect", f"the picture ({width}x{height}) has this aspect already")
        if max(margins.left, margins.right, margins.top, margins.bottom) > MAX_MARGIN_PX:
            raise InvalidArgument.field("outpaint.aspect", f"needs a margin over {MAX_MARGIN_PX} px at this size")
        return margins
    sides = directions.sides(parameters.prompt)
    if not sides:
        raise InvalidArgument.field(
            "outpaint",
            "say where to extend: set margins in px or an aspect, or name a side in the prompt (left, right, top, "
            "bottom, both sides)",
            korean="확장할 방향을 알려 주세요: 여백(px)이나 비율을 지정하거나, "
            "프롬프트에 left, right, top, bottom 같은 방향을 쓰세요.",
        )
    lengths = {"left": width, "right": width, "top": height, "bottom": height}
    return Margins(**{side: min(MAX_MARGIN_PX, max(1, round(lengths[side] * fraction))) for side in sides})


def _check_canvas(size: tuple[int, int], margins: Margins, max_pixels: int) -> None:
    """Refuse a canvas that would not be accepted as a picture."""
    width, height = size[0] + margins.left + margins.right, size[1] + margins.top + margins.bottom
    if width * height <= max_pixels and max(width, height) <= MAX_SIDE:
        return
    raise InvalidArgument.field(
        "outpaint",
        f"the extended picture would have {width}x{height} px; at most {max_pixels / 1e6:g} megapixels and "
        f"{MAX_SIDE} px a side are accepted; ask for smaller margins",
        korean=f"확장한 이미지({width}x{height})가 너무 큽니다. 여백을 줄여 주세요.",
    )


def _extended(canvas: Canvas, margins: Margins, feather_px: int) -> Canvas:
    """The seam is feathered inside the margins, over a third of the smallest one at most."""
    smallest = min(side for side in (margins.left, margins.right, margins.top, margins.bottom) if side > 0)
    feather_px = min(feather_px, smallest // 3)
    around = ((margins.top, margins.bottom), (margins.left, margins.right))
    inside = np.zeros(canvas.rgb.shape[:2], np.uint8)
    return replace(
        canvas,
        rgb=np.pad(canvas.rgb, (*around, (0, 0)), mode="reflect"),
        alpha=None if canvas.alpha is None else np.pad(canvas.alpha, around, mode="reflect"),
        weight=masks.feather(np.pad(inside, around, constant_values=255), feather_px),
        mask_source="margins",
        margins=margins,
    )


def _composited(canvas: Canvas, painted: Pixels) -> Canvas:
    if canvas.weight is None:
        return replace(canvas, rgb=painted, alpha=None, weight=np.full(painted.shape[:2], 255, np.uint8))
    rgb = blend(painted, canvas.rgb, canvas.weight[:, :, None])
    if canvas.alpha is None:
        return replace(canvas, rgb=rgb)
    opaque = np.full_like(canvas.alpha, 255)
    return replace(canvas, rgb=rgb, alpha=blend(opaque, canvas.alpha, canvas.weight))


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
