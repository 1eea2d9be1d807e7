"""EditService: request → picture and parameters → chain → answer. The edge between proto types and the stages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from imgedit import images
from imgedit.errors import DeadlineExceeded, ImgeditError, InvalidArgument
from imgedit.images import Picture, Pixels
from imgedit.v1 import edit_pb2, edit_pb2_grpc, progress_pb2
from services.common import deadline as deadlines
from services.common import interceptors, logs
from services.common.deadline import Context
from services.orchestrator import answer, chain, form, metrics, parameters
from services.orchestrator.backends import Backends, OnProgress
from services.orchestrator.canvas import Edit
from services.orchestrator.catalogue import PROMPT_LANGUAGES, Catalogue, Experiment, Feature

MAX_PAGE_SIZE = 100

Report = Callable[[edit_pb2.EditEvent], None]


@dataclass(frozen=True)
class _Inputs:
    """The pictures of a request, decoded."""

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]


class EditServicer(edit_pb2_grpc.EditServiceServicer):
    """Serves the public API from a catalogue and the model services."""

    def __init__(self, catalogue: Catalogue, backends: Backends, *, max_pixels: int, max_work_pixels: int) -> None:
        self._catalogue = catalogue
        self._backends = backends
        self._max_pixels = max_pixels
        self._max_work_pixels = max_work_pixels

    async def Edit(self, request: edit_pb2.EditRequest, context: Context) -> edit_pb2.EditResponse:
        """Edit one picture."""
        return await self._edit(request, context, lambda _: None)

    async def EditStream(self, request: edit_pb2.EditRequest, context: Context) -> AsyncIterator[edit_pb2.EditEvent]:
        """Edit one picture, reporting on the way; exactly one result or error ends the stream."""
        events: asyncio.Queue[edit_pb2.EditEvent] = asyncio.Queue()
        edit = asyncio.create_task(self._edit_as_event(request, context, events.put_nowait))
        edit.add_done_callback(lambda task: None if task.cancelled() else events.put_nowait(task.result()))
        try:
            while True:
                event = await events.get()
                event.request_id = logs.request_id.get()
                yield event
                if event.HasField("result") or event.HasField("error"):
                    return
        finally:
            edit.cancel()

    def EditBatch(
        self, request_iterator: AsyncIterator[edit_pb2.EditRequest], context: Context
    ) -> AsyncIterator[edit_pb2.EditEvent]:
        """Many edits over one stream; not served yet."""
        raise NotImplementedError

    async def CancelEdit(self, request: edit_pb2.CancelEditRequest, context: Context) -> edit_pb2.CancelEditResponse:
        """Cancel an edit; not served yet."""
        raise NotImplementedError

    async def ListExperiments(
        self, request: edit_pb2.ListExperimentsRequest, context: Context
    ) -> edit_pb2.ListExperimentsResponse:
        """One page of the catalogue."""
        if not 0 <= request.page_size <= MAX_PAGE_SIZE:
            raise InvalidArgument.field("page_size", f"must be 0 to {MAX_PAGE_SIZE}, is {request.page_size}")
        experiments = self._catalogue.experiments
        if request.page_token and not (request.page_token.isdecimal() and int(request.page_token) < len(experiments)):
            raise InvalidArgument.field("page_token", "must be the next_page_token of an answer, or empty")
        first = int(request.page_token or 0)
        last = first + (request.page_size or MAX_PAGE_SIZE)
        return edit_pb2.ListExperimentsResponse(
            experiments=[_describe(experiment) for experiment in experiments[first:last]],
            next_page_token=str(last) if last < len(experiments) else "",
        )

    async def _edit_as_event(
        self, request: edit_pb2.EditRequest, context: Context, report: Report
    ) -> edit_pb2.EditEvent:
        """The last event of a stream: the result, or the error that Edit would have raised."""
        try:
            return edit_pb2.EditEvent(result=await self._edit(request, context, report))
        except Exception as raised:  # noqa: BLE001  # whatever it is, the stream ends with it
            return edit_pb2.EditEvent(error=interceptors.answered_error(raised))

    async def _edit(self, request: edit_pb2.EditRequest, context: Context, report: Report) -> edit_pb2.EditResponse:
        """Run one edit under the caller's deadline, or the catalogue's, and record how it went."""
        arrived = time.monotonic()
        deadline = deadlines.of(context) or arrived + self._catalogue.timeout_seconds
        code, ids = "INTERNAL", ("unknown", "unknown")
        try:
            experiment, feature = self._catalogue.find(request.experiment_id, request.feature_id)
            ids = (experiment.id, feature.id)
            async with asyncio.timeout(deadline - arrived):
                response = await self._edit_feature(request, experiment, feature, deadline, report)
            response.elapsed_time = time.monotonic() - arrived
            code = "OK"
            return response
        except TimeoutError:
            code = DeadlineExceeded.code.name
            raise DeadlineExceeded(f"the edit took longer than the {deadline - arrived:.0f} s it had") from None
        except ImgeditError as error:
            code = error.code.name
            raise
        except asyncio.CancelledError:
            code = "CANCELLED"
            raise
        finally:
            metrics.EDIT_SECONDS.labels(*ids, code).observe(time.monotonic() - arrived)

    async def _edit_feature(
        self,
        request: edit_pb2.EditRequest,
        experiment: Experiment,
        feature: Feature,
        deadline: float,
        report: Report,
    ) -> edit_pb2.EditResponse:
        resolved = parameters.resolve(request, feature)
        inputs = await asyncio.to_thread(self._decode, request)
        metrics.IMAGE_PIXELS.observe(inputs.picture.size[0] * inputs.picture.size[1])
        edit = Edit(
            picture=inputs.picture,
            mask=inputs.mask,
            references=inputs.references,
            parameters=resolved,
            backends=self._backends,
            max_pixels=self._max_pixels,
            max_work_pixels=self._max_work_pixels,
            deadline=deadline,
            on_stage=lambda name, index, count: report(
                edit_pb2.EditEvent(stage=edit_pb2.StageStarted(name=name, index=index, count=count))
            ),
            on_progress=lambda stage: _progress_to(report, stage),
        )
        outcome = await chain.run(feature, edit)
        for stage, seconds in outcome.seconds.items():
            metrics.STAGE_SECONDS.labels(stage).observe(seconds)
        return await answer.of(experiment, feature, edit, outcome)

    def _decode(self, request: edit_pb2.EditRequest) -> _Inputs:
        """Judge and decode every picture of the request; the only place where untrusted pictures enter."""
        picture = images.open_untrusted(request.input_image, field="input_image", max_pixels=self._max_pixels)
        mask = None
        if request.mask_image:
            mask = images.open_mask(
                request.mask_image, field="mask_image", size=picture.size, max_pixels=self._max_pixels
            )
        references = tuple(
            images.open_untrusted(data, field=f"reference_images[{index}]", max_pixels=self._max_pixels).over_white()
            for index, data in enumerate(request.reference_images)
        )
        return _Inputs(picture, mask, references)


def _progress_to(report: Report, stage: str) -> OnProgress:
    def listen(
        *,
        queued: progress_pb2.Queued | None = None,
        progress: progress_pb2.Progress | None = None,
        preview: progress_pb2.Preview | None = None,
    ) -> None:
        if queued is not None:
            report(edit_pb2.EditEvent(queued=queued))
        if preview is not None:
            report(edit_pb2.EditEvent(preview=preview))
        if progress is not None:
            eta = progress.eta_seconds if progress.HasField("eta_seconds") else None
            report(
                edit_pb2.EditEvent(
                    progress=edit_pb2.StageProgress(
                        stage=stage, step=progress.step, steps=progress.steps, eta_seconds=eta
                    )
                )
            )

    return listen


def _describe(experiment: Experiment) -> edit_pb2.Experiment:
    return edit_pb2.Experiment(
        id=experiment.id,
        name=experiment.name,
        description=experiment.description,
        model_ids=[model.model_id for model in experiment.models],
        features=[
            edit_pb2.Feature(
                id=feature.id,
                name=feature.name,
                requires_mask=feature.requires_mask,
                stages=[stage.kind for stage in feature.stages],
                parameters=form.specs(feature),
                prompt_languages=PROMPT_LANGUAGES[feature.painter.kind],
            )
            for feature in experiment.features
        ],
    )
