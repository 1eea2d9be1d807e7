"""Estimate a chain without running it.

Its painting stages ask their services for the expected course of their jobs. BEN2 and the PromptService are not called:
without the caller's mask the whole image is masked, and a placeholder stands for a rewritten prompt.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np

from imgedit.imaging.pixels import Pixels
from services.orchestrator.backends.clients import JobEstimate
from services.orchestrator.catalogue.experiments import (
    CompositeStage,
    ExtendStage,
    Feature,
    FillStage,
    MaskStage,
    QwenEditStage,
)
from services.orchestrator.chain import stages
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.state import ChainState, MaskResult, Prompts
from services.orchestrator.imaging.work_area import WorkArea

PLACEHOLDER = "a picture"
"""For a prompt that would be rewritten; every model reads English."""


async def estimate_chain(feature: Feature, edit: EditContext) -> list[JobEstimate]:
    """The estimate of each painting stage that would run, in order."""
    state, jobs = ChainState(edit.picture, prompts=_prompts(edit)), []
    for stage in feature.stages:
        match stage:
            case MaskStage():
                state = await _masked(state, stage, edit)
            case ExtendStage():
                state = state.after(await stages.extend(state, stage, edit))
            case FillStage() | QwenEditStage() if stages.parameters_of(state, stage, edit).steps_run:
                jobs.append(await _job(state, stage, edit))
            case CompositeStage():
                state = replace(state, mask=None)
    return jobs


def _prompts(edit: EditContext) -> Prompts | None:
    asked, rewriting = edit.parameters, edit.rewriting
    if not rewriting.is_needed:
        return None
    return Prompts(
        asked.prompt if rewriting.prompt is None else PLACEHOLDER,
        PLACEHOLDER if rewriting.negative_prompt else asked.negative_prompt,
    )


async def _masked(state: ChainState, stage: MaskStage, edit: EditContext) -> ChainState:
    use = edit.parameters.region.use_of(stage)
    if use is None:
        return state
    if edit.mask is not None:
        return state.after(await stages.mask(state, stage, edit))
    if use.cuts_out:
        return state
    return state.after(MaskResult(np.full(state.picture.rgb.shape[:2], 255, np.uint8), "segmentation", use.options))


async def _job(state: ChainState, stage: FillStage | QwenEditStage, edit: EditContext) -> JobEstimate:
    parameters = stages.parameters_of(state, stage, edit)
    options, backends = stages.options_of(parameters), edit.backends
    if isinstance(stage, FillStage):
        area, mask_alpha = await asyncio.to_thread(stages.fill_area, state, edit)
        return await backends.estimate_fill(_blank(area), mask_alpha, options, deadline=edit.deadline)
    area, region = await asyncio.to_thread(stages.qwen_edit_area, state, edit)
    references = await stages.references_of(stage, edit)
    return await backends.estimate_qwen_edit([_blank(area), *references], region, options, deadline=edit.deadline)


def _blank(area: WorkArea) -> Pixels:
    """A picture of the work area's size: its pixels do not matter."""
    width, height = area.padded
    return np.zeros((height, width, 3), np.uint8)
