"""One edit from start to end: request → parameters → images → chain → response."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from imgedit.errors import DeadlineExceeded
from imgedit.imaging.decode_pool import Decoders
from imgedit.v1 import edit_pb2
from services.common import tracing
from services.common.call_context import caller
from services.common.settings import MIB
from services.orchestrator import metering, metrics, policy
from services.orchestrator.backends.clients import Backends
from services.orchestrator.backends.lora_lists import LoraLists
from services.orchestrator.catalogue.experiments import Experiment, ExtendStage, Feature
from services.orchestrator.catalogue.source import CatalogueSource
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.response import build_response
from services.orchestrator.chain.run import run_chain
from services.orchestrator.edits.admission import Admission
from services.orchestrator.edits.edit_registry import EventLog
from services.orchestrator.edits.progress_events import ProgressEvents
from services.orchestrator.imaging.work_area import WorkPixels
from services.orchestrator.policy import Policy
from services.orchestrator.request import inputs, parameters
from services.orchestrator.request.parameters import EditParameters
from services.orchestrator.request.prompts import PromptRules


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
        self._policy = policy

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
            await self._loras.check(resolved.loras, [stage.kind for stage in feature.paint_stages])
            extend = next((stage for stage in feature.stages if isinstance(stage, ExtendStage)), None)
            needed = inputs.working_bytes(request, resolved, extend, self._max_pixels)
            with self._admission.edit(caller.get(), needed):
                async with _within(deadline):
                    response = await self._edit_feature(request, resolved, call, experiment, feature, deadline, events)
            response.elapsed_time = time.monotonic() - arrived
            return response

    async def _edit_feature(
        self,
        request: edit_pb2.EditRequest,
        resolved: EditParameters,
        call: CallContext,
        experiment: Experiment,
        feature: Feature,
        deadline: float,
        events: EventLog,
    ) -> edit_pb2.EditResponse:
        rewriting = self._prompts.rewriting_for(resolved, feature)
        judged = partial(policy.review, experiment.id, feature.id, resolved.prompt, resolved.negative_prompt)
        if self._policy:
            await self._policy.check(judged())
            # A preview would show pixels before the policy has judged them.
            resolved = replace(resolved, preview_every=0)
        pictures = await inputs.decode_inputs(request, self._decoders, self._max_pixels, caller.get())
        resolved.output.check_size(pictures.picture.size)
        pixels = pictures.picture.size[0] * pictures.picture.size[1]
        metrics.IMAGE_PIXELS.observe(pixels)
        metering.set_pixels(pixels)
        tracing.note(pixels=pixels)
        progress = ProgressEvents(events.add, call.request_id)
        edit = EditContext(
            picture=pictures.picture,
            mask=pictures.mask,
            references=pictures.references,
            parameters=resolved,
            backends=self._backends.without_reruns() if call.is_second_run else self._backends,
            rewriting=rewriting,
            loras=self._loras.of_services(resolved.loras),
            max_pixels=self._max_pixels,
            work_pixels=self._work_pixels,
            deadline=deadline,
            on_stage=progress.on_stage,
            on_progress=progress.on_progress,
        )
        outcome = await run_chain(feature, edit)
        for stage, seconds in outcome.seconds.items():
            metrics.STAGE_SECONDS.labels(stage).observe(seconds)
        if self._policy:
            await self._policy.check(judged(outcome.picture.rgb, outcome.prompts.prompt))
        response = await build_response(
            request,
            experiment,
            feature,
            edit,
            outcome,
            with_prompts=self._metadata_prompt,
            max_bytes=self._max_response_bytes,
        )
        if self._policy and request.preview_every:
            response.warnings.append("preview_every: no previews, since the content policy judges finished pictures")
        return response


@asynccontextmanager
async def _within(deadline: float) -> AsyncIterator[None]:
    """Cancel the inner work at the deadline."""
    seconds = deadline - time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise DeadlineExceeded(f"the edit took longer than the {seconds:.1f} s it had") from None
