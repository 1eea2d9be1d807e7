"""A finished edit as an EditResponse: encoded images and all parameters as used."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from imgedit import __version__, remarks
from imgedit.imaging import provenance
from imgedit.imaging.images import Picture
from imgedit.imaging.metadata import Metadata
from imgedit.result import combined
from imgedit.v1 import edit_pb2, lora_pb2, progress_pb2
from services.common import logs
from services.common.settings import MIB
from services.orchestrator.catalogue.experiments import Experiment, Feature
from services.orchestrator.chain import composite
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.run import Outcome
from services.orchestrator.request import mask_parameters, output, parameters
from services.orchestrator.request.margins import Margins

_REST_BYTES = 1024 * 1024
"""Of an answer, for all but its pictures."""

_MASK_SOURCES = {
    "whole": edit_pb2.MASK_SOURCE_WHOLE,
    "segmentation": edit_pb2.MASK_SOURCE_SEGMENTATION,
    "request": edit_pb2.MASK_SOURCE_REQUEST,
    "margins": edit_pb2.MASK_SOURCE_MARGINS,
}


async def build_response(
    request: edit_pb2.EditRequest,
    experiment: Experiment,
    feature: Feature,
    edit: EditContext,
    outcome: Outcome,
    *,
    with_prompts: bool,
    max_bytes: int,
    results: int,
    shared: output.SharedFiles,
) -> edit_pb2.EditResponse:
    """Build the response.

    with_prompts: include the prompts in the result's metadata. max_bytes: size limit. results: of the request; mask and
    cut-out that do not fit into this result's share of the limit are omitted with a warning. shared: the files that the
    results of one request have in common.

    Raises `InvalidArgument` for an image too large for the requested format, `RequestTooLarge` for a result that
    exceeds every response.
    """
    width, height = outcome.picture.size
    edit.parameters.output.check_size((width, height))
    effective = _effective(feature, edit, outcome)
    files = await output.encode_files(
        edit.parameters.output,
        outcome.picture,
        await asyncio.to_thread(_metadata, request, effective, with_prompts),
        cutout=partial(_cutout, edit.picture, outcome),
        mask_alpha=outcome.mask_alpha,
        shared=shared,
    )
    files, left_out = files.within(max_bytes - _REST_BYTES, max_bytes // results - _REST_BYTES)
    warnings = (*edit.parameters.warnings, *outcome.record.warnings, *outcome.cutout_warnings, *left_out)
    return edit_pb2.EditResponse(
        success=True,
        experiment_id=experiment.id,
        experiment_name=experiment.name,
        output_image=files.output,
        background_removed_image=files.cutout,
        mask_image=files.mask,
        seed=edit.parameters.seed,
        width=width,
        height=height,
        effective=effective,
        stage_timings=[progress_pb2.Timing(name=name, seconds=s) for name, s in outcome.seconds.items()],
        warnings=remarks.english(warnings),
        korean_warnings=remarks.korean(warnings),
        request_id=logs.request_id.get(),
    )


def combine_responses(responses: Sequence[edit_pb2.EditResponse], max_bytes: int) -> edit_pb2.EditResponse:
    """The response of a request, from the response of each result.

    Results after the first that would exceed `max_bytes` in total are omitted with a warning that names their seeds.
    """
    kept: list[edit_pb2.EditResponse] = []
    left = max_bytes
    for response in responses:
        left -= response.ByteSize()
        if kept and left < 0:
            break
        kept.append(response)
    whole = combined(kept)
    if missing := responses[len(kept) :]:
        limit, seeds = f"{max_bytes / MIB:.0f} MiB", ", ".join(str(response.seed) for response in missing)
        remark = remarks.Remark(
            f"further_results: {len(missing)} of {len(responses)} results (seed {seeds}) left out, since they would "
            f"take the answer over {limit}; take JPEG, WebP with a quality, a smaller picture or EditStream, which "
            "sends each result alone",
            f"응답이 {limit}를 넘지 않도록 결과 {len(responses)}장 중 {len(missing)}장(시드 {seeds})을 뺐습니다. "
            "결과 형식을 JPEG나 WebP로 바꾸거나, 더 작은 이미지나 결과를 하나씩 보내는 EditStream을 쓰세요.",
        )
        remarks.add_remark(whole, remark)
    return whole


def _metadata(request: edit_pb2.EditRequest, effective: edit_pb2.EffectiveParameters, with_prompts: bool) -> Metadata:
    generator = f"imgedit {__version__}"
    record = provenance.record_of(request, effective, generator=generator, with_prompts=with_prompts)
    return provenance.metadata_of(record)


def _cutout(picture: Picture, outcome: Outcome) -> Picture | None:
    """The image under the subject's alpha, no more opaque than before."""
    subject = outcome.subject
    if subject is None:
        return None
    alpha = subject.alpha if picture.alpha is None else np.minimum(subject.alpha, picture.alpha)
    return composite.cut_out(picture.rgb, alpha, subject.foreground_colours)


def _prompts(feature: Feature, edit: EditContext, outcome: Outcome) -> dict[str, Any]:
    """The prompts as the model saw them, and as they were asked where that differs."""
    if feature.prompt_stage is None:
        lead = edit.parameters.at(feature.primary_stage) if feature.primary_stage else edit.parameters
        return {"prompt": lead.prompt, "negative_prompt": lead.negative_prompt}
    asked, seen, is_expanded = edit.parameters, outcome.prompts, edit.rewriting.prompt == "expand"
    changed = edit_pb2.PROMPT_REWRITE_EXPANDED if is_expanded else edit_pb2.PROMPT_REWRITE_TRANSLATED
    is_other = seen.prompt != asked.prompt
    is_other_negative = seen.negative_prompt != asked.negative_prompt
    return {
        "prompt": seen.prompt,
        "negative_prompt": seen.negative_prompt,
        "requested_prompt": asked.prompt if is_other else None,
        "requested_negative_prompt": asked.negative_prompt if is_other_negative else None,
        "prompt_rewrite": changed if is_other else edit_pb2.PROMPT_REWRITE_UNSPECIFIED,
    }


def _effective(feature: Feature, edit: EditContext, outcome: Outcome) -> edit_pb2.EffectiveParameters:
    used = edit.parameters.at(feature.primary_stage) if feature.primary_stage else edit.parameters
    record = outcome.record
    by_words = used.extension.directions if used.extension else None
    work_width, work_height = record.area.padded if record.area else (0, 0)
    return edit_pb2.EffectiveParameters(
        feature_id=feature.id,
        **_prompts(feature, edit, outcome),
        negative_scale=used.negative_scale,
        profile=parameters.PROFILE_NUMBERS[used.profile],
        steps=used.steps,
        steps_run=used.steps_run,
        full_steps=next((steps for stage, steps in record.full_steps if stage is feature.primary_stage), 0),
        guidance_scale=used.guidance_scale,
        strength=used.strength,
        seed=used.seed,
        outpaint=_outpaint(record.margins) if record.margins else None,
        reference_count=len(edit.references),
        mask_source=_MASK_SOURCES[outcome.mask_source],
        work_width=work_width,
        work_height=work_height,
        background=mask_parameters.BACKGROUND_NUMBERS[used.region.background] if used.region.background else None,
        mask_options=mask_parameters.mask_options_message(record.mask_options) if record.mask_options else None,
        direction_words=by_words.words if by_words else (),
        output=used.output.message,
        postprocess=edit_pb2.POSTPROCESS_ON if used.postprocess else edit_pb2.POSTPROCESS_OFF,
        loras=[lora_pb2.LoraUse(name=name, scale=scale) for name, scale in used.loras],
        models=[progress_pb2.ModelInfo(model_id=m.model_id, revision=m.revision) for m in outcome.models],
    )


def _outpaint(margins: Margins) -> edit_pb2.Outpaint:
    return edit_pb2.Outpaint(left=margins.left, right=margins.right, top=margins.top, bottom=margins.bottom)
