"""The client for asyncio, `EditClient`.

`SyncEditClient` of `sync_client.py` has the same methods for plain code.

Errors are the classes of `imgedit.errors`. This module knows the public API only; it judges no picture and no range,
since the server does and answers with the field at fault.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, TypedDict, TypeVar, Unpack

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit.call_errors import error_of
from imgedit.channels import TlsFiles, check_process, open_channel
from imgedit.errors import InternalError, from_status
from imgedit.keywords import refusing_unknown
from imgedit.progress import OnProgress, listener
from imgedit.request import EDIT_OPTIONS, EditOptions, ImageSource, edit_request
from imgedit.retry import retried
from imgedit.v1 import edit_pb2, edit_pb2_grpc

T = TypeVar("T")

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 300.0
DEFAULT_RETRIES = 2


OnEvent = Callable[[edit_pb2.EditEvent], None]

CancelOutcome = Literal["cancelled", "finished"]


class ClientOptions(TypedDict, total=False):
    """The connection options: the keyword arguments of `EditClient`."""

    token: str | None
    token_in_clear: bool
    tls: bool
    tls_ca: Path | str | None
    client_certificate: Path | str | None
    client_key: Path | str | None
    use_proxy: bool | None
    retries: int


class EditClient:
    """Calls EditService from asyncio.

    async with EditClient("127.0.0.1:50051") as client:
        answer = await client.edit("photo.jpg", experiment="ben2_flux_fill", prompt="a bright modern gym")
        Path("out.png").write_bytes(answer.output_image)

    A call that ends with UNAVAILABLE, and no other, is made again up to `retries` times, after a growing wait and
    within its timeout; an edit keeps its request id then, so that the server does not do it twice.
    """

    @refusing_unknown()
    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        token: str | None = None,
        token_in_clear: bool = False,
        tls: bool = False,
        tls_ca: Path | str | None = None,
        client_certificate: Path | str | None = None,
        client_key: Path | str | None = None,
        use_proxy: bool | None = None,
        retries: int = DEFAULT_RETRIES,
    ) -> None:
        """`token` goes with each call.

        `token_in_clear` lets it leave this machine without TLS. `tls` trusts the public authorities, `tls_ca` those of
        a PEM file instead; `client_certificate` and `client_key` are PEM files for a server that asks for them.
        `use_proxy`: None = the proxy that the environment names (`https_proxy` …) is used for servers beyond this
        machine and its cluster; True = for every server; False = for none.

        Raises `SettingsError` for a file at fault, and for a token that would leave this machine without TLS.
        """
        self._target = target
        self._retries = retries
        self._channel = open_channel(
            target,
            tls=_tls_files(tls, tls_ca, client_certificate, client_key),
            token=(lambda: token) if token else None,
            may_send_token_in_clear=token_in_clear,
            use_proxy=use_proxy,
        )
        self._stub = edit_pb2_grpc.EditServiceStub(self._channel)

    async def __aenter__(self) -> EditClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    @refusing_unknown(*EDIT_OPTIONS)
    async def edit(
        self,
        image: ImageSource,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[EditOptions],
    ) -> edit_pb2.EditResponse:
        """Edit one image and return the response.

        The options are those of `imgedit.request.EditOptions`; only `experiment` is required. `timeout` is in seconds.
        `on_event` is called with every event (queued, stage, progress, preview), `on_progress` with a `Progress` after
        every change. A retry restarts both. Raises the classes of `imgedit.errors`; cancelling the task cancels the
        edit.
        """
        request = edit_request(image, **options)

        async def attempt(left: float) -> edit_pb2.EditResponse:
            listeners = [on_event] if on_event else []
            listeners += [listener(on_progress)] if on_progress else []
            return await self._edit(request, left, listeners)

        return await retried(attempt, retries=self._retries, timeout=timeout)

    async def _edit(
        self, request: edit_pb2.EditRequest, timeout: float, listeners: list[OnEvent]
    ) -> edit_pb2.EditResponse:
        answer: edit_pb2.EditResponse | None = None
        # Read to the end, also after the result: leaving early would look like a cancelled call to the server.
        async for event in self.edit_stream(request, timeout=timeout):
            if event.HasField("result"):
                answer = event.result
            else:
                for listen in listeners:
                    listen(event)
        if answer is None:
            raise InternalError("the stream ended without a result; the server must send one")
        return answer

    @refusing_unknown()
    async def edit_stream(
        self, request: edit_pb2.EditRequest, *, timeout: float = DEFAULT_TIMEOUT
    ) -> AsyncGenerator[edit_pb2.EditEvent, None]:
        """The events of one edit, the last of which is its result.

        An `error` event is raised as its class.

        `request` is what `imgedit.edit_request` makes. Nothing is sent again here.
        """
        with _Translated(self._target):
            call = self._stub.EditStream(request, timeout=timeout)
            try:
                async for event in call:
                    if event.HasField("error"):
                        raise from_status(event.error)
                    yield event
            finally:
                call.cancel()

    @refusing_unknown()
    async def edit_batch(
        self,
        requests: Iterable[edit_pb2.EditRequest] | AsyncIterable[edit_pb2.EditRequest],
        *,
        timeout: float | None = None,
    ) -> AsyncGenerator[edit_pb2.EditEvent, None]:
        """Many edits over one stream.

        The events of all of them, told apart by their `request_id`.

        `requests` are what `imgedit.edit_request` makes; they are read as the server takes them. Each request ends with
        one event that has a `result` or an `error` (`imgedit.errors.from_status` makes the exception); a failed one
        does not end the others. Nothing is sent again here. `timeout` is for all of them.
        """
        with _Translated(self._target):
            call = self._stub.EditBatch(
                aiter(requests) if isinstance(requests, AsyncIterable) else iter(requests), timeout=timeout
            )
            try:
                async for event in call:
                    yield event
            finally:
                call.cancel()

    @refusing_unknown()
    async def cancel(self, request_id: str, *, timeout: float = 10.0) -> CancelOutcome:
        """Cancel an edit, queued or running; "finished" where it had ended before.

        Raises `RequestNotFound` where the server that is asked does not hold it.
        """
        request = edit_pb2.CancelEditRequest(request_id=request_id)

        async def attempt(left: float) -> edit_pb2.CancelEditResponse:
            with _Translated(self._target):
                return await self._stub.CancelEdit(request, timeout=left)

        answer = await retried(attempt, retries=self._retries, timeout=timeout)
        return "cancelled" if answer.outcome == edit_pb2.CANCEL_OUTCOME_CANCELLED else "finished"

    @refusing_unknown()
    async def experiments(self, *, timeout: float = 10.0) -> list[edit_pb2.Experiment]:
        """All experiments with their features, parameters and availability."""
        return await retried(self._experiments, retries=self._retries, timeout=timeout)

    async def _experiments(self, timeout: float) -> list[edit_pb2.Experiment]:
        """All pages, within the timeout together."""
        ends_at = time.monotonic() + timeout
        found: list[edit_pb2.Experiment] = []
        request = edit_pb2.ListExperimentsRequest()
        with _Translated(self._target):
            while True:
                page = await self._stub.ListExperiments(request, timeout=ends_at - time.monotonic())
                found.extend(page.experiments)
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

    @refusing_unknown()
    async def is_serving(self, *, timeout: float = 5.0) -> bool:
        """Whether the server is SERVING; False without a response."""
        check_process()
        stub = health_pb2_grpc.HealthStub(self._channel)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _tls_files(
    tls: bool, ca: Path | str | None, certificate: Path | str | None, key: Path | str | None
) -> TlsFiles | None:
    if not (tls or ca or certificate or key):
        return None
    return TlsFiles(*(Path(file) if file else None for file in (ca, certificate, key)))


class _Translated:
    """Convert a gRPC error to the server's class of `imgedit.errors`."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __enter__(self) -> None:
        check_process()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise error_of(error, self._target) from None
