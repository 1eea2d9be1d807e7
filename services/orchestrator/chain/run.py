"""The walk along a feature's chain, stage by stage.

Segmenting and rewriting prompts run beside the other stages.

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
from services.orchestrator.chain.state import ChainState, EditContext, Subject, Texts

T = TypeVar("T")


@dataclass(frozen=True)
class Outcome:
    """A finished edit. texts: the prompts as the model saw them. seconds: per stage, in the order of their start."""

    state: ChainState
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


async def run_chain(feature: Feature, edit: EditContext) -> Outcome:
    """Walk the chain.

    Leaving early, by an error or a cancel, ends all that still runs.
    """
    state = ChainState(edit.picture.rgb, edit.picture.alpha)
    mask_alphas: list[Pixels] = []
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
                edit.pending.subject = work
            elif isinstance(stage, RewritePromptStage):
                texts = asyncio.create_task(clock.measure(stage.kind, partial(rewrite_prompts, edit)))
                texts.add_done_callback(_retrieve)
                edit.pending.texts = texts
            else:
                await _waited_for(stage, edit)  # before the clock: it is the time of what runs beside
                step = partial(stages.OF_KIND[type(stage)], state, stage, edit)
                state = await clock.measure(stage.kind, step)
            if isinstance(stage, CompositeStage) and state.mask_alpha is not None:
                mask_alphas.append(state.mask_alpha)
                if any(isinstance(later, CompositeStage) for later in walked[index:]):
                    state = state.as_picture()
        state = await _finished(state, feature, edit, clock)
        if len(mask_alphas) > 1:  # changed is what any of them changed
            state = replace(state, mask_alpha=np.maximum.reduce(mask_alphas))
        subject, warnings = await _settled_subject(edit)
        texts_seen = edit.pending.texts
        seen = await texts_seen if texts_seen else Texts(edit.parameters.prompt, edit.parameters.negative_prompt)
    finally:
        edit.pending.cancel()
    segmenters = () if subject is None else (subject.model,)
    state = replace(state, models=tuple(dict.fromkeys((*segmenters, *seen.models, *state.models))))
    return Outcome(state, subject, seen, clock.seconds, warnings)


def _walked(feature: Feature, edit: EditContext) -> list[Stage]:
    """The stages that this edit needs, with a rewriting of its prompts where the chain has none."""
    walked = [stage for stage in feature.stages if _is_needed(stage, feature, edit)]
    if edit.rewriting.is_needed and not feature.has(RewritePromptStage):
        walked.insert(int(isinstance(walked[0], SegmentStage)), RewritePromptStage())
    return walked


async def _finished(state: ChainState, feature: Feature, edit: EditContext, clock: Clock) -> ChainState:
    """Cut out where that is all that the chain does, or where the result is to be transparent."""
    if not feature.paint_stages:
        return await stages.finish_unpainted(state, edit)
    if edit.parameters.region.background == "transparent":
        return await clock.measure("composite", partial(stages.finish_transparent, state, edit))
    return state


def _is_needed(stage: Stage, feature: Feature, edit: EditContext) -> bool:
    """All but what the edit has no use for.

    A mask, a rewriting, a segmentation that nobody waits for or shows.
    """
    if isinstance(stage, RewritePromptStage):
        return edit.rewriting.is_needed
    region = edit.parameters.region
    if isinstance(stage, MaskStage):
        return region.use_of(stage) is not None
    if isinstance(stage, SegmentStage):
        return edit.parameters.output.cutout or not feature.paint_stages or (bool(region.masks) and edit.mask is None)
    return True


def _wants_colours(feature: Feature, edit: EditContext) -> bool:
    """Whether the answer, or what a model is given, will show soft edges of the subject that BEN2 finds."""
    used = edit.parameters
    shows = edit.mask is None and any(use.cuts_out or use.options.keeps_subject for use in used.region.masks)
    return used.postprocess and (used.output.cutout or shows or not feature.paint_stages)


def _retrieve(work: asyncio.Task[Any]) -> None:
    """Look at a failure that nothing awaited, because another stage failed first.

    Asyncio would log it as lost.
    """
    if not work.cancelled():
        work.exception()


async def _waited_for(stage: Stage, edit: EditContext) -> None:
    """Wait for what the stage needs of the tasks beside it."""
    if isinstance(stage, MaskStage) and edit.pending.subject is not None and edit.mask is None:
        await edit.pending.subject
    if isinstance(stage, PaintStage) and stage.prompt is None and edit.pending.texts is not None:
        await edit.pending.texts


async def _settled_subject(edit: EditContext) -> tuple[Subject | None, tuple[str, ...]]:
    """The segmentation; its failure is a warning, since what depended on it would have failed before."""
    if edit.pending.subject is None:
        return None, ()
    try:
        return await edit.pending.subject, ()
    except ImgeditError as error:
        return None, (f"the cut-out could not be made: {error.message}",)
