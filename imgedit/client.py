"""The client for asyncio, `EditClient`.

`SyncEditClient` of `sync_client.py` has the same methods for plain code.

Errors are the classes of `imgedit.errors`. This module knows the public API only; it judges no picture and no range of
a feature, since the server does and answers with the field at fault.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypedDict, TypeVar, Unpack, cast

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit.addresses import check_target
from imgedit.arguments import INT32, callback, flag, needed_text, seconds, text, whole
from imgedit.call_errors import client_error_of, in_python
from imgedit.channels import TlsFiles, check_process, open_channel
from imgedit.errors import InternalError, from_status
from imgedit.image_source import ImageSource, several
from imgedit.keywords import accepting, check_keywords, refusing_unknown
from imgedit.progress import OnProgress, listener
from imgedit.request import EditOptions, check_options, edit_request
from imgedit.result import EditEstimate, EditResult, EditStatus, ManyProgress, combined, estimate_of, status_of
from imgedit.retry import retried
from imgedit.v1 import edit_pb2, edit_pb2_grpc

T = TypeVar("T")

TARGET_VARIABLE = "IMGEDIT_TARGET"
"""Names the server where a caller does not, for the command line as for the clients."""

DEFAULT_TARGET = "127.0.0.1:50051"
DEFAULT_TIMEOUT = 300.0
DEFAULT_ESTIMATE_TIMEOUT = 30.0
DEFAULT_RETRIES = 2
DEFAULT_PARALLEL = 4

CLOSED = "the client is closed"

REQUEST_ID_KEY = "x-imgedit-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

_OF_ALL = ("max_parallel", "timeout", "on_progress")
"""Arguments of `edit_many` that a single picture cannot have."""

OnEvent = Callable[[edit_pb2.EditEvent], None]

OnResult = Callable[[EditResult], None]

OnManyProgress = Callable[[ManyProgress], None]

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
        result = await client.edit("photo.jpg", experiment="ben2_flux_fill", prompt="a bright modern gym")
        result.save("out.png")

    A call that ends with UNAVAILABLE is made again up to `retries` times, after a growing wait and within its timeout;
    one that is refused because too many edits run (`TooManyEdits`), after the wait that the server asks for, as often
    as its timeout allows. An edit keeps its request id then, so that the server does not do it twice. With `retries` 0
    nothing is called again.

    Each `timeout` is in seconds; None = no limit here, and an edit has the server's own (300 s unless its operator has
    set another). After `close` every call raises RuntimeError.
    """

    @refusing_unknown()
    def __init__(
        self,
        target: str | None = None,
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
        """Connect to `target`, HOST:PORT. None = IMGEDIT_TARGET, else 127.0.0.1:50051.

        `token` goes with each call; `token_in_clear` lets it leave this machine without TLS. `tls` trusts the public
        authorities, `tls_ca` those of a PEM file instead; `client_certificate` and `client_key` are PEM files for a
        server that asks for them. `use_proxy`: None = the proxy that the environment names (`https_proxy` …) is used
        for servers beyond this machine and its cluster; True = for every server; False = for none.

        `retries`: how often a call is made again after UNAVAILABLE, 0 or more.

        Raises `SettingsError` for a file or an address at fault, and for a token that would leave this machine without
        TLS; TypeError and ValueError for another argument at fault.
        """
        self._target = target = chosen_target(target)
        text("token", token)
        for name, value in (("token_in_clear", token_in_clear), ("tls", tls), ("use_proxy", use_proxy)):
            flag(name, value)
        counted = whole("retries", retries, "0 or more", (0, INT32[1]))
        self._retries = DEFAULT_RETRIES if counted is None else counted
        self._is_closed = False
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
        self._is_closed = True
        await self._channel.close()

    def _check_open(self) -> None:
        """Raise RuntimeError after `close`, `ForkError` in a forked process."""
        check_process()
        if self._is_closed:
            raise RuntimeError(CLOSED)

    def _translated(self) -> _Translated:
        self._check_open()
        return _Translated(self._target)

    @accepting(EditOptions)
    async def edit(
        self,
        image: ImageSource,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_event: OnEvent | None = None,
        on_progress: OnProgress | None = None,
        on_result: OnResult | None = None,
        **options: Unpack[EditOptions],
    ) -> EditResult:
        """Edit one picture and return the result.

        `image` is the bytes or the path of a PNG, JPEG or WebP file, a file opened in binary mode, a PIL.Image or a
        NumPy array. `timeout` is in seconds. `on_event` is called with every report on the way (queued, stage,
        progress, preview), `on_progress` with a `Progress` whenever it changes, `on_result` with each of `n` results as
        it finishes. If the edit is retried, they start again. Raises the classes of `imgedit.errors`, and before
        anything is sent OSError for a file that cannot be read, TypeError and ValueError for an argument at fault.
        Cancelling the task cancels the edit.
        """
        self._check_open()
        seconds("timeout", timeout)
        callback("on_event", on_event)
        callback("on_progress", on_progress)
        callback("on_result", on_result)
        request = await asyncio.to_thread(edit_request, image, **options)

        async def attempt(left: float | None) -> EditResult:
            listeners = [on_event] if on_event else []
            listeners += [listener(on_progress)] if on_progress else []
            return await self._edit(request, left, listeners, on_result)

        return await retried(attempt, retries=self._retries, timeout=timeout)

    async def _edit(
        self,
        request: edit_pb2.EditRequest,
        timeout: float | None,
        listeners: list[OnEvent],
        on_result: OnResult | None,
    ) -> EditResult:
        responses: dict[int, edit_pb2.EditResponse] = {}
        # Read to the end, also after the result: leaving early would look like a cancelled call to the server.
        async for event in self.edit_stream(request, timeout=timeout):
            if event.HasField("result"):
                responses[event.index] = event.result
                if on_result is not None:
                    on_result(EditResult(event.result))
            else:
                for listen in listeners:
                    listen(event)
        wanted = request.n or 1
        if len(responses) != wanted:
            raise InternalError(f"the stream ended with {len(responses)} of {wanted} results; the server must send all")
        return EditResult(combined([responses[index] for index in sorted(responses)]))

    @accepting(EditOptions)
    async def edit_many(
        self,
        images: Iterable[ImageSource | Mapping[str, Any]],
        *,
        max_parallel: int = DEFAULT_PARALLEL,
        timeout: float | None = DEFAULT_TIMEOUT,
        on_progress: OnManyProgress | None = None,
        **options: Unpack[EditOptions],
    ) -> list[EditResult | Exception]:
        """Edit many pictures with the same options, several at once.

        Returns, in the order of `images`, each result or its exception; a failed edit does not stop the others.
        A picture with its own options is a mapping: {"image": "a.jpg", "prompt": "a beach"}. At most
        `max_parallel` edits run at once; `timeout` is in seconds for each of them. `on_progress` is called with a
        `ManyProgress` whenever one has ended. All results are held in memory; `imgedit batch` writes files instead.
        Raises TypeError and ValueError for an argument at fault, before the first edit; cancelling the task cancels the
        edits that run.
        """
        self._check_open()
        seconds("timeout", timeout)
        callback("on_progress", on_progress)
        parallel = whole("max_parallel", max_parallel, "1 or more", (1, INT32[1])) or DEFAULT_PARALLEL
        asked = [_own(one, options) for one in several("images", images)]
        _check_all([own for _, own in asked])
        ended: list[EditResult | Exception | None] = [None] * len(asked)
        waiting = iter(enumerate(asked))

        async def work() -> None:
            for place, (image, own) in waiting:
                try:
                    ended[place] = await self.edit(image, timeout=timeout, **own)
                except Exception as error:  # noqa: BLE001  # whatever it is, the other pictures continue
                    ended[place] = error
                if on_progress is not None:
                    on_progress(_many_progress(ended))

        async with asyncio.TaskGroup() as group:
            for _ in range(min(parallel, len(asked))):
                group.create_task(work())
        return [one for one in ended if one is not None]

    @refusing_unknown()
    async def edit_stream(
        self, request: edit_pb2.EditRequest, *, timeout: float | None = DEFAULT_TIMEOUT
    ) -> AsyncGenerator[edit_pb2.EditEvent, None]:
        """The events of one edit, the last of which is its result.

        An `error` event is raised as its class.

        `request` is what `imgedit.edit_request` makes. Nothing is sent again here.
        """
        seconds("timeout", timeout)
        with self._translated():
            call = self._stub.EditStream(request, timeout=timeout, metadata=_routed(request.request_id))
            try:
                async for event in call:
                    if event.HasField("error"):
                        raise in_python(from_status(event.error))
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
        seconds("timeout", timeout)
        with self._translated():
            call = self._stub.EditBatch(
                aiter(requests) if isinstance(requests, AsyncIterable) else iter(requests), timeout=timeout
            )
            try:
                async for event in call:
                    yield event
            finally:
                call.cancel()

    @refusing_unknown()
    async def cancel(self, request_id: str, *, timeout: float | None = 10.0) -> CancelOutcome:
        """Cancel an edit, queued or running; "finished" where it had ended before.

        Raises `RequestNotFound` where the server that is asked does not hold it.
        """
        seconds("timeout", timeout)
        request = edit_pb2.CancelEditRequest(request_id=needed_text("request_id", request_id))

        async def attempt(left: float | None) -> edit_pb2.CancelEditResponse:
            with self._translated():
                return await self._stub.CancelEdit(request, timeout=left, metadata=_routed(request_id))

        response = await retried(attempt, retries=self._retries, timeout=timeout)
        return "cancelled" if response.outcome == edit_pb2.CANCEL_OUTCOME_CANCELLED else "finished"

    @refusing_unknown()
    async def get_edit(self, request_id: str, *, timeout: float | None = 10.0) -> EditStatus:
        """The state of one of your edits, and its result while the server keeps it.

        Raises `RequestNotFound` where the server that is asked does not hold it.
        """
        seconds("timeout", timeout)
        request = edit_pb2.GetEditRequest(request_id=needed_text("request_id", request_id))

        async def attempt(left: float | None) -> edit_pb2.GetEditResponse:
            with self._translated():
                return await self._stub.GetEdit(request, timeout=left, metadata=_routed(request_id))

        return status_of(await retried(attempt, retries=self._retries, timeout=timeout))

    @accepting(EditOptions)
    async def estimate(
        self, image: ImageSource, *, timeout: float | None = DEFAULT_ESTIMATE_TIMEOUT, **options: Unpack[EditOptions]
    ) -> EditEstimate:
        """How long an edit would take if it were sent now; nothing is edited.

        The arguments are those of `edit`, and are checked as there. `timeout` is in seconds, for the estimate itself.
        """
        self._check_open()
        seconds("timeout", timeout)
        request = await asyncio.to_thread(edit_request, image, **options)

        async def attempt(left: float | None) -> edit_pb2.EstimateEditResponse:
            with self._translated():
                return await self._stub.EstimateEdit(request, timeout=left)

        return estimate_of(await retried(attempt, retries=self._retries, timeout=timeout))

    @refusing_unknown()
    async def experiments(self, *, timeout: float | None = 10.0) -> list[edit_pb2.Experiment]:
        """All experiments with their features, parameters and availability."""
        seconds("timeout", timeout)
        return await retried(self._experiments, retries=self._retries, timeout=timeout)

    async def _experiments(self, timeout: float | None) -> list[edit_pb2.Experiment]:
        """All pages, within the timeout together."""
        ends_at = None if timeout is None else time.monotonic() + timeout
        found: list[edit_pb2.Experiment] = []
        request = edit_pb2.ListExperimentsRequest()
        with self._translated():
            while True:
                left = None if ends_at is None else ends_at - time.monotonic()
                page = await self._stub.ListExperiments(request, timeout=left)
                found.extend(page.experiments)
                if not page.next_page_token:
                    return found
                request.page_token = page.next_page_token

    @refusing_unknown()
    async def is_serving(self, *, timeout: float | None = 5.0) -> bool:
        """Whether the server is SERVING; False without a response."""
        seconds("timeout", timeout)
        self._check_open()
        stub = health_pb2_grpc.HealthStub(self._channel)
        try:
            response = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


def chosen_target(target: str | None) -> str:
    """The server's address: `target`, else IMGEDIT_TARGET, else the default.

    Raises `SettingsError` for an invalid address.
    """
    text("target", target, "a str, HOST:PORT")
    chosen = target or os.environ.get(TARGET_VARIABLE) or DEFAULT_TARGET
    check_target(chosen)
    return chosen


def _routed(request_id: str) -> tuple[tuple[str, str], ...]:
    """Metadata with which an edge finds the replica that has the edit.

    An invalid id gives none.
    """
    return ((REQUEST_ID_KEY, request_id),) if _REQUEST_ID.fullmatch(request_id) else ()


def _own(asked: ImageSource | Mapping[str, Any], options: EditOptions) -> tuple[ImageSource, EditOptions]:
    """One picture of many, and its options: those of all, and its own."""
    if not isinstance(asked, Mapping):
        return asked, options
    own = dict(asked)
    if shared := [name for name in own if name in _OF_ALL]:
        raise TypeError(f"edit_many(): {shared[0]!r} is for all pictures together, not for one of them")
    check_keywords("edit_many", own, ("image", *EditOptions.__annotations__))
    if "image" not in own:
        raise TypeError("edit_many(): a picture with its own options needs the key 'image'")
    return own.pop("image"), cast("EditOptions", {**options, **own})


def _check_all(asked: Sequence[EditOptions]) -> None:
    """Raise TypeError or ValueError for a wrong option.

    Two edits with one request id are wrong too.
    """
    ids = set()
    for options in asked:
        check_options(options)
        if (request_id := options.get("request_id")) in ids:
            raise TypeError(
                f"edit_many(): the request_id {request_id!r} is one edit's; give each picture its own: "
                '{"image": ..., "request_id": ...}'
            )
        ids |= {request_id} if request_id else set()


def _many_progress(ended: Sequence[EditResult | Exception | None]) -> ManyProgress:
    over = [one for one in ended if one is not None]
    return ManyProgress(len(over), sum(isinstance(one, Exception) for one in over), len(ended))


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
        """Nothing to prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, grpc.aio.AioRpcError):
            raise client_error_of(error, self._target) from None
