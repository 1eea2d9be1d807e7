"""The walk along a feature's chain, stage by stage; the segmentation runs beside the stages that do not need it.

Times every stage. Knows nothing of what a stage does to pixels.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np

from imgedit.errors import ImgeditError
from imgedit.images import Pixels
from services.orchestrator import stages
from services.orchestrator.backends import Segmented
from services.orchestrator.canvas import Canvas, Edit
from services.orchestrator.catalogue import CompositeStage, Feature, MaskStage, SegmentStage, Stage

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """A finished edit. `seconds` per stage, in the order in which the stages began."""

    canvas: Canvas
    subject_alpha: Pixels | None
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
            return await work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


async def run(feature: Feature, edit: Edit) -> Outcome:
    """Walk the chain. Leaving early, by an error or a cancel, ends all that still runs."""
    canvas = Canvas(edit.picture.rgb, edit.picture.alpha)
    weights: list[Pixels] = []
    clock = Clock()
    try:
        walked = [stage for stage in feature.stages if _is_needed(stage, feature, edit)]
        for index, stage in enumerate(walked, start=1):
            edit.on_stage(stage.kind, index, len(walked))
            clock.seconds.setdefault(stage.kind, 0.0)  # holds its place in the order of the stages
            if isinstance(stage, SegmentStage):
                work = asyncio.create_task(clock.measure(stage.kind, lambda: stages.segment(edit)))
                work.add_done_callback(_retrieve)
                canvas = replace(canvas, subject=work)
            else:
                if isinstance(stage, MaskStage) and canvas.subject is not None and edit.mask is None:
                    await canvas.subject  # before the clock: waiting is the segmentation's time
                step = partial(stages.OF_KIND[type(stage)], canvas, stage, edit)
                canvas = await clock.measure(stage.kind, step)
            if isinstance(stage, CompositeStage) and canvas.weight is not None:
                weights.append(canvas.weight)
                if index < len(feature.stages):  # what follows starts from the picture as it is now
                    canvas = replace(canvas, weight=None, mask_source="whole", painted=None)
        if not feature.painters:
            canvas = await stages.cut_out(canvas)
        if len(weights) > 1:  # changed is what any of them changed
            canvas = replace(canvas, weight=np.maximum.reduce(weights))
        subject, warnings = await _settled_subject(canvas)
    finally:
        if canvas.subject is not None:
            canvas.subject.cancel()
    if subject is not None:
        canvas = replace(canvas, models=(subject.model, *canvas.models))
    return Outcome(canvas, subject.alpha if subject else None, clock.seconds, warnings)


def _is_needed(stage: Stage, feature: Feature, edit: Edit) -> bool:
    """All but a segmentation whose cut-out is not wanted, where nothing else depends on it."""
    if not isinstance(stage, SegmentStage) or edit.parameters.output.cutout:
        return True
    return feature.has(MaskStage) and edit.mask is None


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
