"""The walk along a feature's chain, stage by stage; segmenting and rewriting prompts run beside the other stages.

Times every stage. Knows nothing of what a stage does to pixels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

from imgedit.errors import ImgeditError
from imgedit.imaging.images import Pixels
from services.common import tracing
from services.orchestrator.catalogue.models import (
    CompositeStage,
    Feature,
    MaskStage,
    PaintStage,
    RewritePromptStage,
    SegmentStage,
    Stage,
)
from services.orchestrator.chain import stages
from services.orchestrator.chain.rewriting import rewrite_prompts
from services.orchestrator.chain.state import Canvas, Edit, Subject, Texts

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """A finished edit. texts: the prompts as the model saw them. seconds: per stage, in the order of their start."""

    canvas: Canvas
    subject: Subject | None
    texts: Texts
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


@dataclass
class Clock:
    """Measures stages; a stage that runs beside others is measured by itself, two of a kind together."""

    seconds: dict[str, float] = field(default_factory=dict)

    async def measure(self, stage: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do `work` and note how long it took."""
        started = time.perf_counter()
        try:
            with tracing.span(f"stage {stage}"):
                return await work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


async def run_chain(feature: Feature, edit: Edit) -> Outcome:
    """Walk the chain. Leaving early, by an error or a cancel, ends all that still runs."""
    canvas = Canvas(edit.picture.rgb, edit.picture.alpha)
    weights: list[Pixels] = []
    clock = Clock()
    try:
        walked = _walked(feature, edit)
        for index, stage in enumerate(walked, start=1):
            edit.on_stage(stage.kind, index, len(walked))
            clock.seconds.setdefault(stage.kind, 0.0)  # holds its place in the order of the stages
            if isinstance(stage, SegmentStage):
                segment = partial(stages.segment, edit, wants_colours=_wants_colours(feature, edit))
                work = asyncio.create_task(clock.measure(stage.kind, segment))
                work.add_done_callback(_retrieve)
                canvas = replace(canvas, subject=work)
            elif isinstance(stage, RewritePromptStage):
                texts = asyncio.create_task(clock.measure(stage.kind, partial(rewrite_prompts, edit)))
                texts.add_done_callback(_retrieve)
                canvas = replace(canvas, texts=texts)
            else:
                if isinstance(stage, MaskStage) and canvas.subject is not None and edit.mask is None:
                    await canvas.subject  # before the clock: waiting is the segmentation's time
                if isinstance(stage, PaintStage) and stage.prompt is None and canvas.texts is not None:
                    await canvas.texts  # likewise
                step = partial(stages.OF_KIND[type(stage)], canvas, stage, edit)
                canvas = await clock.measure(stage.kind, step)
            if isinstance(stage, CompositeStage) and canvas.weight is not None:
                weights.append(canvas.weight)
                if index < len(walked):
                    canvas = canvas.as_picture()
        canvas = await _finished(canvas, feature, edit, clock)
        if len(weights) > 1:  # changed is what any of them changed
            canvas = replace(canvas, weight=np.maximum.reduce(weights))
        subject, warnings = await _settled_subject(canvas)
        seen = await canvas.texts if canvas.texts else Texts(edit.parameters.prompt, edit.parameters.negative_prompt)
    finally:
        for running in (canvas.subject, canvas.texts):
            if running is not None:
                running.cancel()
    segmenters = () if subject is None else (subject.model,)
    canvas = replace(canvas, models=tuple(dict.fromkeys((*segmenters, *seen.models, *canvas.models))))
    return Outcome(canvas, subject, seen, clock.seconds, warnings)


def _walked(feature: Feature, edit: Edit) -> list[Stage]:
    """The stages that this edit needs, with a rewriting of its prompts where the chain has none."""
    walked = [stage for stage in feature.stages if _is_needed(stage, feature, edit)]
    if edit.rewriting.is_needed and not feature.has(RewritePromptStage):
        walked.insert(int(isinstance(walked[0], SegmentStage)), RewritePromptStage())
    return walked


async def _finished(canvas: Canvas, feature: Feature, edit: Edit, clock: Clock) -> Canvas:
    """Cut out where that is all that the chain does, or where the result is to be transparent."""
    if not feature.painters:
        return await stages.finish_unpainted(canvas)
    if edit.parameters.region.background == "transparent":
        return await clock.measure("composite", partial(stages.finish_transparent, canvas, edit))
    return canvas


def _is_needed(stage: Stage, feature: Feature, edit: Edit) -> bool:
    """All but what the edit has no use for: a mask, a rewriting, a segmentation that nobody waits for or shows."""
    if isinstance(stage, RewritePromptStage):
        return edit.rewriting.is_needed
    region = edit.parameters.region
    if isinstance(stage, MaskStage):
        return region.use_of(stage) is not None
    if isinstance(stage, SegmentStage):
        return edit.parameters.output.cutout or not feature.painters or (bool(region.masks) and edit.mask is None)
    return True


def _wants_colours(feature: Feature, edit: Edit) -> bool:
    """Whether the answer, or what a model is given, will show soft edges of the subject that BEN2 finds."""
    used = edit.parameters
    shows = edit.mask is None and any(use.cuts_out or use.options.keeps_subject for use in used.region.masks)
    return used.postprocess and (used.output.cutout or shows or not feature.painters)


def _retrieve(work: asyncio.Task[Any]) -> None:
    """Look at a failure that nothing awaited, because another stage failed first; asyncio would log it as lost."""
    if not work.cancelled():
        work.exception()


async def _settled_subject(canvas: Canvas) -> tuple[Subject | None, tuple[str, ...]]:
    """The segmentation; its failure is a warning, since what depended on it would have failed before."""
    if canvas.subject is None:
        return None, ()
    try:
        return await canvas.subject, ()
    except ImgeditError as error:
        return None, (f"the cut-out could not be made: {error.message}",)
