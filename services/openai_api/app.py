"""The paths of this service.

Each request gets an id, metrics, a log line, and errors in OpenAI's format.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from imgedit.errors import DeadlineExceeded, ImgeditError, InvalidArgument, NotFound, Resource, TooManyEdits, quoted
from services.common import calls, logs, tracing
from services.common.calls import Call
from services.common.settings import MIB
from services.openai_api import errors, responses
from services.openai_api.edits import Edits
from services.openai_api.exchange import Exchange, given_request_id
from services.openai_api.image_edits import ImageEdits
from services.openai_api.masks import Masks
from services.openai_api.result_urls import Results
from services.openai_api.settings import OpenAiApiSettings
from services.openai_api.shares import Shares

Handler = Callable[[Exchange], Awaitable[None]]

_DISCARDED_BYTES = 2
"""Times the limit of a request, and at least `MIB`: how much of a refused one's body is read and dropped."""

MAX_DISCARDED = 16
"""Refused requests whose bodies are read at once. The answer to others may be lost to a caller who still sends."""

MAX_DOWNLOADS, MAX_DOWNLOADS_OF_ONE = 16, 8
"""Results behind URLs that are read at once: in all, and of those that one credential made. With the requests they stay
below what the edge lets through at once (deploy/envoy/edge.yaml), so that none of them closes it for the others."""


class OpenAiApi:
    """The service: its application, and what it needs while it runs."""

    def __init__(self, settings: OpenAiApiSettings) -> None:
        """Raises `SettingsError` where settings contradict each other."""
        settings.check()
        self.is_ready = False
        self._settings = settings
        self._began = int(time.time())
        self._masks = Masks(settings.decode_seconds, settings.max_pixels)
        self._results = Results(settings.url_seconds, settings.max_url_bytes) if settings.public_url else None
        self._downloads = Shares("results are being read", MAX_DOWNLOADS, MAX_DOWNLOADS_OF_ONE)
        self._discarded = Shares("bodies are being dropped", MAX_DISCARDED, MAX_DISCARDED)

    async def start(self) -> Starlette:
        """The application. Raises `SettingsError` for files at fault."""
        settings = self._settings
        self._edits = Edits(settings.orchestrator, tls=settings.orchestrator_tls)
        await self._masks.start()
        edits = ImageEdits(settings, self._edits, self._masks, self._results)
        result = "/v1/images/results/{request_id}/{name}"
        app = Starlette(
            routes=[
                Route("/v1/images/edits", self._observed("ImagesEdits", edits), methods=["POST"]),
                Route(result, self._observed("ImagesResults", self._result), methods=["GET"]),
                Route("/v1/models", self._observed("Models", self._models), methods=["GET"]),
                Route("/healthz", self._health, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _refuse_path},
        )
        app.router.redirect_slashes = False
        self.is_ready = True
        return app

    async def stop(self) -> None:
        """End what was started, once the last request has ended."""
        await self._edits.close()
        self._masks.close()

    async def _models(self, exchange: Exchange) -> None:
        """GET /v1/models."""
        features = await self._edits.features(exchange.authorization, exchange.request_id)
        await exchange.answer_json(200, responses.models(features, self._began))

    async def _result(self, exchange: Exchange) -> None:
        """GET /v1/images/results/…: return a file; its name is an unguessable secret."""
        name = exchange.path_parameter("name")
        kept = self._results.get(name) if self._results else None
        if kept is None:
            raise NotFound(
                f"there is no result {quoted(name)}; they are kept for {self._settings.url_seconds:g} s",
                resource=Resource("result", name),
            )
        headers = {"cache-control": "private, no-store", "content-disposition": "inline"}
        with self._downloads.taken(kept.owner):
            await exchange.answer(200, [kept.data], media_type=f"image/{kept.format}", headers=headers)

    async def _health(self, _request: Request) -> Response:
        """For the edge: whether requests may be sent here."""
        return PlainTextResponse("SERVING\n" if self.is_ready else "NOT_SERVING\n", 200 if self.is_ready else 503)

    def _observed(self, rpc: str, handle: Handler) -> _Observed:
        return _Observed(rpc, handle, self._settings, self._discarded)


class _Observed:
    """An application of ASGI around one handler."""

    def __init__(self, rpc: str, handle: Handler, settings: OpenAiApiSettings, discarded: Shares) -> None:
        self._rpc = rpc
        self._handle = handle
        self._settings = settings
        self._discarded = discarded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send, request_id=uuid.uuid4().hex, send_seconds=self._settings.send_seconds)
        try:
            await self._serve(exchange)
        except ImgeditError as error:
            # Do not wait for a slow sender a second time.
            if not (exchange.has_begun or exchange.is_broken or isinstance(error, DeadlineExceeded)):
                with suppress(TooManyEdits), self._discarded.taken(None):
                    await exchange.discard_body(max(MIB, _DISCARDED_BYTES * self._settings.max_request_bytes))
            if not (exchange.has_begun or exchange.is_broken):
                await exchange.answer_json(errors.status(error), errors.body(error), errors.headers(error))

    async def _serve(self, exchange: Exchange) -> None:
        fault: InvalidArgument | None = None
        try:
            exchange.request_id = given_request_id(exchange.headers) or exchange.request_id
        except InvalidArgument as error:
            fault = error
        logs.request_id.set(exchange.request_id)
        call = Call(self._settings.service, self._rpc, exchange.peer, None, self._settings.max_request_bytes)
        calls.current.set(call)
        method = f"/{self._settings.service}/{self._rpc}"
        with tracing.served(method, exchange.headers.items, request_id=exchange.request_id), call.observed():
            if fault is not None:
                raise fault
            await self._handle(exchange)


async def _refuse_path(_request: Request, error: Exception) -> Response:
    """Starlette's own refusals: no such path, or not with this method."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = {
        404: "there is no such path; there are POST /v1/images/edits and GET /v1/models",
        405: "this path does not take this method; there are POST /v1/images/edits and GET /v1/models",
    }.get(status, "the request was refused")
    code = {404: "not_found", 405: "method_not_allowed"}.get(status, "refused")
    body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    return JSONResponse(body, status)
