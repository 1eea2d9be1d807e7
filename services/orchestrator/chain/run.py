"""Run a feature's chain stage by stage, and time every stage.

Segmentation and prompt rewriting run in parallel with the other stages.
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
    """A finished edit.

    texts: the prompts as the model saw them. seconds: per stage, in start order.
    """

    state: ChainState
    subject: Subject | None
    texts: Texts
    seconds: dict[str, float]
    warnings: tuple[str, ...] = ()


@dataclass
class Clock:
    """Measures stages.

    A parallel stage is measured by itself; two stages of a kind are added.
    """

    seconds: dict[str, float] = field(default_factory=dict)

    async def measure(self, stage: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` and record its duration."""
        started = time.perf_counter()
        try:
            with tracing.span(f"stage {stage}"):
                return await work()
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


async def run_chain(feature: Feature, edit: EditContext) -> Outcome:
    """Run the chain.

    An error or a cancellation ends all running tasks.
    """
    state = ChainState(edit.picture.rgb, edit.picture.alpha)
    mask_alphas: list[Pixels] = []
    clock = Clock()
    try:
        walked = _walked(feature, edit)
        for index, stage in enumerate(walked, start=1):
            edit.on_stage(stage.kind, index, len(walked))
            clock.seconds.setdefault(stage.kind, 0.0)  # keeps its place in the order of the stages
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
                await _waited_for(stage, edit)  # before the clock starts: this is the time of parallel tasks
                step = partial(stages.OF_KIND[type(stage)], state, stage, edit)
                state = await clock.measure(stage.kind, step)
            if isinstance(stage, CompositeStage) and state.mask_alpha is not None:
                mask_alphas.append(state.mask_alpha)
                if any(isinstance(later, CompositeStage) for later in walked[index:]):
                    state = state.as_picture()
        state = await _finished(state, feature, edit, clock)
        if len(mask_alphas) > 1:  # the union of all composites' changes
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
    """The stages that this edit needs, with prompt rewriting if the chain lacks it."""
    walked = [stage for stage in feature.stages if _is_needed(stage, feature, edit)]
    if edit.rewriting.is_needed and not feature.has(RewritePromptStage):
        walked.insert(int(isinstance(walked[0], SegmentStage)), RewritePromptStage())
    return walked


async def _finished(state: ChainState, feature: Feature, edit: EditContext, clock: Clock) -> ChainState:
    """Cut out if the chain does only that, or if the result must be transparent."""
    if not feature.paint_stages:
        return await stages.finish_unpainted(state, edit)
    if edit.parameters.region.background == "transparent":
        return await clock.measure("composite", partial(stages.finish_transparent, state, edit))
    return state


def _is_needed(stage: Stage, feature: Feature, edit: EditContext) -> bool:
    """Whether the edit needs the stage.

    A mask, a rewriting or a segmentation may be unused.
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
    """Whether the response or a model's input shows soft edges of BEN2's subject."""
    used = edit.parameters
    shows = edit.mask is None and any(use.cuts_out or use.options.keeps_subject for use in used.region.masks)
    return used.postprocess and (used.output.cutout or shows or not feature.paint_stages)


def _retrieve(work: asyncio.Task[Any]) -> None:
    """Retrieve the failure of a task that nobody awaits after another failure.

    asyncio would log it as never retrieved.
    """
    if not work.cancelled():
        work.exception()


async def _waited_for(stage: Stage, edit: EditContext) -> None:
    """Wait for the parallel tasks that the stage needs."""
    if isinstance(stage, MaskStage) and edit.pending.subject is not None and edit.mask is None:
        await edit.pending.subject
    if isinstance(stage, PaintStage) and stage.prompt is None and edit.pending.texts is not None:
        await edit.pending.texts


async def _settled_subject(edit: EditContext) -> tuple[Subject | None, tuple[str, ...]]:
    """The segmentation.

    Its failure becomes a warning, since a stage that needs it would have failed before.
    """
    if edit.pending.subject is None:
        return None, ()
    try:
        return await edit.pending.subject, ()
    except ImgeditError as error:
        return None, (f"the cut-out could not be made: {error.message}",)
