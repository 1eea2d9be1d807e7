"""Run a feature's chain stage by stage, and time every stage.

Segmentation and prompt rewriting run in parallel with the other stages. Several results of one request share every
stage before the first that paints.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np

from imgedit.imaging.images import Picture
from imgedit.imaging.pixels import Pixels
from imgedit.remarks import Remarks
from services.common import tracing
from services.orchestrator.backends.clients import ModelUse
from services.orchestrator.catalogue.experiments import (
    Feature,
    MaskStage,
    PaintStage,
    RewritePromptStage,
    SegmentStage,
    Stage,
)
from services.orchestrator.chain import stages
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.parallel import ParallelStages
from services.orchestrator.chain.rewrite_prompts import rewrite_prompts
from services.orchestrator.chain.state import (
    ChainRecord,
    ChainState,
    CompositeResult,
    MaskSource,
    Prompts,
    StageResult,
    Subject,
)

T = TypeVar("T")

Finish = Callable[[int, "Outcome"], Awaitable[None]]
"""Takes the outcome of one result and its place, from 0."""


@dataclass(frozen=True)
class Outcome:
    """A finished edit.

    mask_alpha: (H, W) uint8, above 0 where a composite may have changed the image; mask_source: of the last one.
    subject: BEN2's result for the input image; None if unused, or if it failed, as cutout_warnings then say. prompts:
    as the model saw them. models: every model that worked on the edit. seconds: per stage, in start order.
    """

    picture: Picture
    mask_alpha: Pixels
    mask_source: MaskSource
    record: ChainRecord
    subject: Subject | None
    prompts: Prompts
    models: tuple[ModelUse, ...]
    seconds: dict[str, float]
    cutout_warnings: Remarks = ()


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


class Walk:
    """State and record of one chain while its stages run."""

    def __init__(self, picture: Picture) -> None:
        self.state = ChainState(picture)
        self.record = ChainRecord()
        self._composites: list[CompositeResult] = []

    def branch(self) -> Walk:
        """A separate walk that continues from here."""
        walk = Walk(self.state.picture)
        walk.state, walk.record, walk._composites = self.state, self.record, [*self._composites]
        return walk

    def add(self, result: StageResult | None) -> None:
        """Go on from what a stage made; None = it had nothing to do."""
        if result is None:
            return
        if isinstance(result, CompositeResult):
            self._composites.append(result)
        self.state, self.record = self.state.after(result), self.record.after(result)

    @property
    def mask_source(self) -> MaskSource:
        """Of the last composite."""
        return self._composites[-1].mask_source

    def mask_alpha(self) -> Pixels:
        """(H, W) uint8, above 0 where any composite may have changed the picture."""
        alphas = [composite.mask_alpha for composite in self._composites]
        return alphas[0] if len(alphas) == 1 else np.maximum.reduce(alphas)


async def run_chain(feature: Feature, edits: Sequence[EditContext], finish: Finish) -> None:
    """Run the chain for the results of one request.

    edits: alike but for seed and listeners. `finish` is called with each outcome and its place. An error or a
    cancellation ends all running tasks.
    """
    first = edits[0]
    walked = _walked(feature, first)
    shared = next((place for place, stage in enumerate(walked) if isinstance(stage, PaintStage)), len(walked))
    walk, parallel, clock = Walk(first.picture), ParallelStages(), Clock()

    async def result(index: int, edit: EditContext) -> None:
        own = Clock()
        branch = walk.branch()
        await _run_stages(feature, edit, walked, range(shared, len(walked)), branch, parallel, own)
        branch.add(await _finished(branch.state, feature, edit, parallel, own))
        await finish(index, await _outcome(edit, branch, parallel, clock, own))

    try:
        await _run_stages(feature, first, walked, range(shared), walk, parallel, clock)
        async with asyncio.TaskGroup() as group:
            for index, edit in enumerate(edits):
                group.create_task(result(index, edit))
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    finally:
        parallel.cancel()


async def _outcome(edit: EditContext, walk: Walk, parallel: ParallelStages, shared: Clock, own: Clock) -> Outcome:
    subject, cutout_warnings = await parallel.subject()
    prompts = await parallel.prompts(edit.parameters)
    segmenters = () if subject is None else (subject.model,)
    return Outcome(
        picture=walk.state.picture,
        mask_alpha=walk.mask_alpha(),
        mask_source=walk.mask_source,
        record=walk.record,
        subject=subject,
        prompts=prompts,
        models=tuple(dict.fromkeys((*segmenters, *prompts.models, *walk.record.models))),
        seconds={
            kind: shared.seconds.get(kind, 0.0) + own.seconds.get(kind, 0.0) for kind in shared.seconds | own.seconds
        },
        cutout_warnings=cutout_warnings,
    )


async def _run_stages(
    feature: Feature,
    edit: EditContext,
    walked: Sequence[Stage],
    places: range,
    walk: Walk,
    parallel: ParallelStages,
    clock: Clock,
) -> None:
    for stage, place in ((walked[place], place) for place in places):
        edit.on_stage(stage.kind, place + 1, len(walked))
        clock.seconds.setdefault(stage.kind, 0.0)  # holds its place in the order of the stages
        if isinstance(stage, SegmentStage):
            segment = partial(stages.segment, edit, wants_colours=_wants_colours(feature, edit))
            parallel.start_segmenting(clock.measure(stage.kind, segment))
        elif isinstance(stage, RewritePromptStage):
            parallel.start_rewriting(clock.measure(stage.kind, partial(rewrite_prompts, edit)))
        else:
            walk.state = await _with_needs(walk.state, stage, edit, parallel)  # before the clock: it is their time
            walk.add(
                await clock.measure(stage.kind, partial(stages.STAGE_FUNCTIONS[type(stage)], walk.state, stage, edit))
            )


def _walked(feature: Feature, edit: EditContext) -> list[Stage]:
    """The stages that this edit needs, with prompt rewriting if the chain lacks it."""
    walked = [stage for stage in feature.stages if _is_needed(stage, feature, edit)]
    if edit.rewriting.is_needed and not feature.has(RewritePromptStage):
        walked.insert(int(isinstance(walked[0], SegmentStage)), RewritePromptStage())
    return walked


async def _finished(
    state: ChainState, feature: Feature, edit: EditContext, parallel: ParallelStages, clock: Clock
) -> StageResult | None:
    """Cut out if the chain does only that, or if the result must be transparent."""
    if not feature.paint_stages:
        return await stages.finish_unpainted(state if state.mask else await parallel.with_subject(state))
    if edit.parameters.region.background == "transparent":
        return await clock.measure("composite", partial(stages.finish_transparent, state, edit))
    return None


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


async def _with_needs(state: ChainState, stage: Stage, edit: EditContext, parallel: ParallelStages) -> ChainState:
    """The state with what the stage needs of the tasks beside it."""
    if isinstance(stage, MaskStage) and edit.mask is None:
        return await parallel.with_subject(state)
    if isinstance(stage, PaintStage) and stage.prompt is None:
        return await parallel.with_prompts(state)
    return state
