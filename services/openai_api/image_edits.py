"""POST /v1/images/edits, from the credential to the last byte of the answer."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing

from imgedit.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    ImgeditError,
    InternalError,
    InvalidArgument,
    ScopeMissing,
    Violation,
)
from imgedit.imaging import containers, images
from services.common import calls
from services.openai_api import errors, metrics, model_choice, multipart, parameters, responses
from services.openai_api.edits import Edits, EditSpec, Feature, Preview, Progress, Result
from services.openai_api.exchange import Exchange
from services.openai_api.masks import Masks
from services.openai_api.parameters import ImageEdit
from services.openai_api.result_urls import Results
from services.openai_api.settings import OpenAiApiSettings
from services.openai_api.shares import Shares
from services.openai_api.transparency import may_be_transparent

_TURNED = (5, 6, 7, 8)
"""EXIF orientations that exchange width and height."""

_log = logging.getLogger("imgedit.openai")


class ImageEdits:
    """Serves the path. `results`: keeps what is answered by URL; None = nothing is."""

    def __init__(self, settings: OpenAiApiSettings, edits: Edits, masks: Masks, results: Results | None) -> None:
        self._settings = settings
        self._edits = edits
        self._masks = masks
        self._results = results
        self._limits = multipart.Limits(settings.max_request_bytes, settings.max_parts, settings.max_field_bytes)
        self._requests = Shares("requests are in flight", settings.max_requests, settings.max_requests_per_caller)
        self._running = Shares(
            "results are in the making", settings.max_edits, settings.max_edits_per_caller, metrics.EDITS_IN_FLIGHT.set
        )

    async def __call__(self, exchange: Exchange) -> None:
        """Answer a request, or raise."""
        ends_at = exchange.ends_at(self._settings.edit_seconds)
        authorization = exchange.authorization
        _check_origin(exchange)
        with self._requests.taken(authorization):
            await self._edits.admit(authorization, exchange.request_id)
            asked = parameters.read_parameters(await self._received(exchange), has_urls=self._results is not None)
            _log.info("edit", extra={"model": asked.model, "n": asked.n, "stream": asked.stream, "user": asked.user})
            with self._running.taken(authorization, asked.n):
                if asked.stream:
                    await exchange.while_connected(self._stream(exchange, asked, authorization, ends_at))
                    return
                found = await exchange.while_connected(self._all_results(exchange, asked, authorization, ends_at))
                # A result that its caller does not read keeps its place.
                await self._answer(exchange, asked, found, authorization)

    async def _received(self, exchange: Exchange) -> multipart.Form:
        """The form, once it is whole."""
        if int(exchange.headers.get("content-length") or 0) > self._limits.max_bytes:
            raise multipart.too_large(self._limits)
        seconds = self._settings.receive_seconds
        try:
            async with asyncio.timeout(seconds):
                return await multipart.read_form(
                    exchange.headers.get("content-type", ""), exchange.body(), self._limits
                )
        except TimeoutError:
            raise DeadlineExceeded(f"the request was not received whole within {seconds:g} s") from None

    async def _all_results(
        self, exchange: Exchange, asked: ImageEdit, authorization: str | None, ends_at: float
    ) -> list[Result]:
        """The results in the order of their seeds; where one fails, all end."""
        spec = await self._spec(exchange, asked, authorization)
        async with aclosing(self._edits.reports(spec, authorization, ends_at)) as reports:
            results = [report async for report in reports if isinstance(report, Result)]
        for result in results:
            _check_opaque(asked, result)
        return sorted(results, key=lambda result: result.index)

    async def _answer(
        self, exchange: Exchange, asked: ImageEdit, found: list[Result], authorization: str | None
    ) -> None:
        is_by_url = asked.response_format == "url"
        urls = [self._url(exchange.request_id, result, authorization) for result in found] if is_by_url else []
        metrics.RESULTS.labels(asked.response_format).inc(len(found))
        await exchange.answer(200, responses.images(asked, found, urls), media_type="application/json")

    def _url(self, request_id: str, result: Result, authorization: str | None) -> str:
        if self._results is None:
            raise InternalError("a URL was promised, and none can be made")
        name = self._results.put(result.image, result.format, authorization)
        # With the request's id in it the edge finds the replica that keeps the file.
        return f"{self._settings.public_url}/v1/images/results/{request_id}/{name}"

    async def _stream(self, exchange: Exchange, asked: ImageEdit, authorization: str | None, ends_at: float) -> None:
        """Stream the events of an edit.

        An error before the first event becomes an ordinary error response; a later one becomes the last event.
        """
        spec = await self._spec(exchange, asked, authorization)
        shown = 0
        try:
            async with aclosing(self._edits.reports(spec, authorization, ends_at)) as reports:
                async for report in reports:
                    if not exchange.has_begun:
                        await exchange.begin_events()
                    if isinstance(report, Progress):
                        await exchange.send_event(responses.comment(report))
                    elif isinstance(report, Result):
                        _check_opaque(asked, report)
                        metrics.RESULTS.labels("stream").inc()
                        await exchange.send_event(responses.completed(report))
                    elif shown < asked.partial_images:
                        await exchange.send_event(_partial_image(report, asked, shown))
                        metrics.PARTIAL_IMAGES.inc()
                        shown += 1
        except ImgeditError as error:
            if exchange.is_broken or not exchange.has_begun:
                raise
            calls.reported_error(error)
            await exchange.send_event(responses.failed(errors.body(error)))
        await exchange.end_events()

    async def _spec(self, exchange: Exchange, asked: ImageEdit, authorization: str | None) -> EditSpec:
        """The edit that a request means."""
        await self._check_picture(asked)
        feature: Feature | None = None
        if not model_choice.is_named(asked.model) or asked.partial_images:
            feature = model_choice.choose(asked, await self._features(exchange, authorization))
        experiment, name = (feature.experiment, feature.name) if feature else _named(asked.model or "")
        mask = asked.own_mask if asked.mask is None else await self._masks.translated(asked.mask, authorization)
        return EditSpec(
            experiment=experiment,
            feature=name,
            images=asked.images,
            prompt=asked.prompt,
            mask=mask,
            output_format=asked.output_format,
            output_compression=asked.output_compression,
            background=None if asked.background == "opaque" else asked.background,
            previews=_previews(asked, feature) if feature else 0,
            n=asked.n,
            request_id=exchange.request_id,
            own=asked.own,
        )

    async def _features(self, exchange: Exchange, authorization: str | None) -> list[Feature]:
        try:
            return await self._edits.features(authorization, exchange.request_id)
        except ScopeMissing as error:
            raise ScopeMissing(
                f"{error.message}; without it name the model as experiment/feature, and ask for no partial_images",
                korean=error.korean,
                metadata=error.metadata,
            ) from None

    async def _check_picture(self, asked: ImageEdit) -> None:
        """Reject an impossible size or background before anything is computed."""
        if asked.size is not None:
            if any(name.startswith("outpaint.") for name in asked.own):
                raise InvalidArgument.field("size", "must be auto with outpaint, whose margins decide the size")
            found = await asyncio.to_thread(
                images.check_file, asked.images[0], field="image", max_pixels=self._settings.max_pixels
            )
            own = _upright(found)
            if asked.size != own:
                raise InvalidArgument.field(
                    "size",
                    f"must be auto or {own[0]}x{own[1]}, the picture's own, is {asked.size[0]}x{asked.size[1]}; "
                    "a result has the size of the picture",
                    korean=f"결과는 원본 크기({own[0]}x{own[1]})로 나옵니다. size는 auto로 두세요.",
                )
        if asked.background == "opaque" and asked.output_format != "jpeg" and may_be_transparent(asked.images[0]):
            raise InvalidArgument.field(
                "background",
                "opaque cannot be promised for a picture with an alpha channel, which the result keeps; "
                "take output_format jpeg, or send the picture without it",
            )


def _check_origin(exchange: Exchange) -> None:
    """Reject forms from browsers.

    Any web page could send one without a CORS preflight.
    """
    if "origin" in exchange.headers:
        raise InvalidArgument.field(
            "origin", "must not be sent: this path takes no form of a web page; call it from a server or a program"
        )


def _check_opaque(asked: ImageEdit, result: Result) -> None:
    if asked.background == "opaque" and may_be_transparent(result.image):
        description = f"opaque cannot be had: {result.model} makes transparent results; leave background out"
        raise FailedPrecondition(f"background: {description}", violations=[Violation("background", description)])


def _upright(found: containers.Header) -> tuple[int, int]:
    size = (found.width, found.height)
    return (size[1], size[0]) if found.orientation in _TURNED else size


def _named(model: str) -> tuple[str, str]:
    experiment, _, feature = model.partition("/")
    return experiment, feature


def _previews(asked: ImageEdit, feature: Feature) -> int:
    """Steps between previews, so that the requested number is spread evenly."""
    if not asked.partial_images:
        return 0
    steps = feature.steps_run(asked.own.get("profile"), asked.own.get("steps"), asked.own.get("strength"))
    return max(1, steps // (asked.partial_images + 1))


def _partial_image(preview: Preview, asked: ImageEdit, index: int) -> responses.Parts:
    header = containers.read_header(preview.image)
    size = f"{header.width}x{header.height}" if header else "auto"
    qualities = {profile: name for name, profile in parameters.QUALITIES.items()}
    quality = qualities.get(asked.own.get("profile", "balanced")) or "medium"
    return responses.partial_image(preview, asked, index, quality, size)
