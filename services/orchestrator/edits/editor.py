"""One edit from start to end: request → parameters → images → chain → response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Hashable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from imgedit.errors import DeadlineExceeded
from imgedit.imaging.decode_pool import Decoders
from imgedit.imaging.images import Picture
from imgedit.remarks import Remark, add_remark
from imgedit.v1 import edit_pb2
from services.common import tracing
from services.common.call_context import caller
from services.common.settings import MIB
from services.orchestrator import metering, metrics, policy
from services.orchestrator.backends.clients import Backends, JobEstimate, OnProgress
from services.orchestrator.backends.lora_lists import LoraLists
from services.orchestrator.catalogue.experiments import Experiment, ExtendStage, Feature
from services.orchestrator.catalogue.source import CatalogueSource
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.estimate import estimate_chain
from services.orchestrator.chain.response import build_response, combine_responses
from services.orchestrator.chain.run import Outcome, run_chain
from services.orchestrator.edits.admission import Admission
from services.orchestrator.edits.edit_registry import EventLog
from services.orchestrator.edits.progress_events import ProgressEvents
from services.orchestrator.edits.seconds_without_painting import SecondsWithoutPainting
from services.orchestrator.imaging.work_area import WorkPixels
from services.orchestrator.policy import Policy
from services.orchestrator.request import inputs, parameters
from services.orchestrator.request.inputs import Inputs
from services.orchestrator.request.output import SharedFiles
from services.orchestrator.request.parameters import EditParameters
from services.orchestrator.request.prompts import PromptRules, Rewriting
from services.orchestrator.webhooks.edit_webhooks import Subject, Webhooks

_NO_PREVIEWS = Remark(
    "preview_every: no previews, since the content policy judges finished pictures",
    "미리보기가 없습니다. 콘텐츠 정책이 완성된 이미지만 검사합니다.",
)


@dataclass(frozen=True)
class CallContext:
    """The context of an edit.

    is_id_given: the caller chose the id, so the request may come again under it. is_second_run: a proxy retried the
    request, so no stage is rerun. deadline: on the `time.monotonic` clock; None = the catalogue's.
    """

    request_id: str
    is_id_given: bool
    is_second_run: bool
    deadline: float | None


class Editor:
    """Carries out edits with a catalogue and the model services."""

    def __init__(
        self,
        source: CatalogueSource,
        backends: Backends,
        decoders: Decoders,
        *,
        admission: Admission,
        max_pixels: int,
        work_pixels: WorkPixels,
        prompts: PromptRules,
        loras: LoraLists,
        webhooks: Webhooks,
        max_response_bytes: int = 128 * MIB,
        metadata_prompt: bool = True,
        policy: Policy | None = None,
    ) -> None:
        self._source = source
        self._backends = backends
        self._decoders = decoders
        self._admission = admission
        self._max_pixels = max_pixels
        self._work_pixels = work_pixels
        self._max_response_bytes = max_response_bytes
        self._metadata_prompt = metadata_prompt
        self._prompts = prompts
        self._loras = loras
        self._webhooks = webhooks
        self._policy = policy
        self._without_painting = SecondsWithoutPainting()

    async def edit(self, request: edit_pb2.EditRequest, call: CallContext, events: EventLog) -> edit_pb2.EditResponse:
        """Run one edit within its deadline."""
        arrived = time.monotonic()
        catalogue = self._source.current  # one catalogue for the whole edit, even after a reload
        deadline = call.deadline or arrived + catalogue.timeout_seconds
        with tracing.span("edit", request_id=call.request_id), metering.record_edit() as used:
            experiment, feature = catalogue.find(request.experiment_id, request.feature_id)
            used.experiment, used.feature = experiment.id, feature.id
            tracing.note(experiment=experiment.id, feature=feature.id)
            resolved = parameters.resolve_parameters(request, feature)
            self._webhooks.check(request)
            await self._check_loras(resolved, feature)
            needed = self._working_bytes(request, resolved, feature)
            told = self._webhooks.told(request, Subject(call.request_id, experiment.id, feature.id, arrived))
            with self._admission.edit(caller.get(), needed, resolved.n), told:
                async with _within(deadline):
                    response = await self._edit_feature(
                        request, resolved, call, experiment, feature, arrived, deadline, events
                    )
            response.elapsed_time = time.monotonic() - arrived
            self._observe(request, response, feature, used.pixels)
            return response

    async def estimate(self, request: edit_pb2.EditRequest, deadline: float | None) -> edit_pb2.EstimateEditResponse:
        """The expected course of an edit that had the catalogue's time limit.

        deadline: of the estimate itself, on the `time.monotonic` clock; None = none.
        """
        catalogue = self._source.current
        ends_at = time.monotonic() + catalogue.timeout_seconds
        experiment, feature = catalogue.find(request.experiment_id, request.feature_id)
        resolved = parameters.resolve_parameters(request, feature)
        rewriting = self._prompts.rewriting_for(resolved, feature)
        self._webhooks.check(request)
        await self._check_loras(resolved, feature)
        needed = self._working_bytes(request, replace(resolved, n=1), feature)
        with tracing.span("estimate"), self._admission.estimate(caller.get(), needed, held=request.ByteSize()):
            async with _within(deadline or ends_at):
                pictures = await self._decoded(request, resolved)
                edit = self._context(pictures, resolved, rewriting, self._backends.without_reruns(), ends_at)
                jobs = [job.times(resolved.n) for job in await estimate_chain(feature, edit)]
        kind = _kind(request, experiment.id, feature.id, is_rewritten=rewriting.is_needed)
        return _estimate(jobs, self._without_painting.usual(kind, _pixels(pictures.picture)))

    def _observe(
        self, request: edit_pb2.EditRequest, response: edit_pb2.EditResponse, feature: Feature, pixels: int
    ) -> None:
        """Learn the seconds beside painting from a finished edit with one result."""
        if response.further_results:
            return
        seconds = {timing.name: timing.seconds for timing in response.stage_timings}
        painting = sum(seconds.get(kind, 0.0) for kind in {stage.kind for stage in feature.paint_stages})
        kind = _kind(request, response.experiment_id, feature.id, is_rewritten="rewrite_prompt" in seconds)
        self._without_painting.observe(kind, pixels, max(0.0, response.elapsed_time - painting))

    async def _check_loras(self, resolved: EditParameters, feature: Feature) -> None:
        await self._loras.check(resolved.loras, [stage.kind for stage in feature.paint_stages])

    def _working_bytes(self, request: edit_pb2.EditRequest, resolved: EditParameters, feature: Feature) -> int:
        extend = next((stage for stage in feature.stages if isinstance(stage, ExtendStage)), None)
        return inputs.working_bytes(request, resolved, extend, self._max_pixels)

    async def _decoded(self, request: edit_pb2.EditRequest, resolved: EditParameters) -> Inputs:
        pictures = await inputs.decode_inputs(request, self._decoders, self._max_pixels, caller.get())
        resolved.output.check_size(pictures.picture.size)
        return pictures

    def _context(
        self,
        pictures: Inputs,
        resolved: EditParameters,
        rewriting: Rewriting,
        backends: Backends,
        deadline: float,
        on_stage: Callable[[str, int, int], None] = lambda *_: None,
        on_progress: Callable[[str], OnProgress] = lambda _: lambda **_: None,
    ) -> EditContext:
        return EditContext(
            picture=pictures.picture,
            mask=pictures.mask,
            references=pictures.references,
            parameters=resolved,
            backends=backends,
            rewriting=rewriting,
            loras=self._loras.of_services(resolved.loras),
            max_pixels=self._max_pixels,
            work_pixels=self._work_pixels,
            deadline=deadline,
            on_stage=on_stage,
            on_progress=on_progress,
        )

    async def _edit_feature(
        self,
        request: edit_pb2.EditRequest,
        resolved: EditParameters,
        call: CallContext,
        experiment: Experiment,
        feature: Feature,
        arrived: float,
        deadline: float,
        events: EventLog,
    ) -> edit_pb2.EditResponse:
        rewriting = self._prompts.rewriting_for(resolved, feature)
        judged = partial(policy.review, experiment.id, feature.id, resolved.prompt, resolved.negative_prompt)
        if self._policy:
            await self._policy.check(judged())
            # A preview would show pixels before the policy has judged them.
            resolved = replace(resolved, preview_every=0)
        pictures = await self._decoded(request, resolved)
        pixels = _pixels(pictures.picture)
        metrics.IMAGE_PIXELS.observe(pixels)
        metering.set_pixels(pixels)
        tracing.note(pixels=pixels)
        backends = self._backends.without_reruns() if call.is_second_run else self._backends
        progress = [ProgressEvents(events.add, call.request_id, index) for index in range(resolved.n)]
        edits = [
            self._context(
                pictures, resolved.of_result(index), rewriting, backends, deadline, its.on_stage, its.on_progress
            )
            for index, its in enumerate(progress)
        ]
        responses: dict[int, edit_pb2.EditResponse] = {}
        shared = SharedFiles()

        async def finish(index: int, outcome: Outcome) -> None:
            _measure(outcome, feature, is_first=index == 0)
            if self._policy:
                await self._policy.check(judged(outcome.picture.rgb, outcome.prompts.prompt))
            responses[index] = response = await build_response(
                request,
                experiment,
                feature,
                edits[index],
                outcome,
                with_prompts=self._metadata_prompt,
                max_bytes=self._max_response_bytes,
                results=resolved.n,
                shared=shared,
            )
            if self._policy and request.preview_every:
                add_remark(response, _NO_PREVIEWS)
            if resolved.n > 1:
                response.elapsed_time = time.monotonic() - arrived
                events.add(edit_pb2.EditEvent(request_id=call.request_id, index=index, result=response))

        await run_chain(feature, edits, finish)
        return combine_responses([responses[index] for index in range(resolved.n)], self._max_response_bytes)


def _measure(outcome: Outcome, feature: Feature, *, is_first: bool) -> None:
    """Measure the stages of a result.

    The stages that all results share are measured with the first.
    """
    own = {stage.kind for stage in feature.paint_stages} | {"composite"}
    for stage, seconds in outcome.seconds.items():
        if is_first or stage in own:
            metrics.STAGE_SECONDS.labels(stage).observe(seconds)
    if is_first and outcome.cutout_warnings:
        metrics.CUTOUT_FAILURES.inc()


def _pixels(picture: Picture) -> int:
    width, height = picture.size
    return width * height


def _kind(request: edit_pb2.EditRequest, experiment: str, feature: str, *, is_rewritten: bool) -> Hashable:
    """Edits of a kind take about the same time beside painting."""
    return experiment, feature, bool(request.mask_image), is_rewritten


def _estimate(jobs: Sequence[JobEstimate], rest: float | None) -> edit_pb2.EstimateEditResponse:
    """The whole course from its painting jobs and the rest; None = not known yet.

    An edit that paints is expected to take no less than its painting.
    """
    queue = _sum(job.queue_seconds for job in jobs)
    work = _sum(job.work_seconds for job in jobs)
    parts = (queue, work, rest or 0.0 if jobs else rest)
    return edit_pb2.EstimateEditResponse(
        seconds=_sum(parts), queue_seconds=queue, queue_position=sum(job.position for job in jobs)
    )


def _sum(parts: Iterable[float | None]) -> float | None:
    """The sum; None if a part is."""
    known = list(parts)
    return None if None in known else sum(part for part in known if part is not None)


@asynccontextmanager
async def _within(deadline: float) -> AsyncIterator[None]:
    """Cancel the inner work at the deadline."""
    seconds = deadline - time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"the edit took longer than the {seconds:.1f} s it had") from None
