"""EditService: the calls of the public API, their subscriptions and their ends."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Protocol

from google.protobuf.message import Message

from imgedit.errors import InvalidArgument, RequestIdInUse
from imgedit.result import single_results
from imgedit.v1 import edit_pb2, edit_pb2_grpc
from services.common import calls, interceptors, logs
from services.common.call_context import Context, caller, deadline_of
from services.common.interceptors import REQUEST_ID_KEY, REQUEST_ID_PATTERN
from services.orchestrator.backends.lora_lists import LoraLists
from services.orchestrator.catalogue.source import CatalogueSource
from services.orchestrator.edits import batch_stream
from services.orchestrator.edits.admission import Admission
from services.orchestrator.edits.edit_registry import EditHandle, EditRegistry, Key
from services.orchestrator.edits.editor import CallContext, Editor
from services.orchestrator.listing import pages
from services.orchestrator.listing.availability import Availability
from services.orchestrator.request.prompts import PromptRules

ATTEMPT_KEY = "x-envoy-attempt-count"
"""Set by the edge: one hop's retry must not multiply with another's."""

_ATTEMPT = re.compile(r"[0-9]{1,4}")
"""A proxy sends no longer numbers; int() raises beyond 4,300 digits."""

MAX_BATCH_ID_LENGTH = 54
"""Of a batch's own id: "-" and a number go behind it, and ids have up to 64 characters."""

IDLE_SECONDS = 600.0
"""A batch that sends no further request for so long, while none of its edits runs, is ended."""


class Joined(Protocol):
    """An edit, as one of its subscribers sees it."""

    def events(self) -> AsyncGenerator[edit_pb2.EditEvent]:
        """Every event from the first one on, until the edit ends."""

    async def response(self) -> edit_pb2.EditResponse:
        """The response once the edit ends. Raises the edit's error, or this subscriber's."""


Joining = Callable[[], AbstractAsyncContextManager[Joined]]


class EditServicer(edit_pb2_grpc.EditServiceServicer):
    """Serves the public API."""

    def __init__(
        self,
        source: CatalogueSource,
        availability: Availability,
        editor: Editor,
        registry: EditRegistry,
        admission: Admission,
        prompts: PromptRules,
        loras: LoraLists,
        *,
        max_in_batch: int,
    ) -> None:
        self._source = source
        self._availability = availability
        self._editor = editor
        self._registry = registry
        self._admission = admission
        self._prompts = prompts
        self._loras = loras
        self._max_in_batch = max_in_batch

    async def Edit(self, request: edit_pb2.EditRequest, context: Context) -> edit_pb2.EditResponse:
        """Edit one image."""
        joined = self._joined(request, _call_context(request, context))
        edit = await calls.current.get().until_sent.enter_async_context(joined)
        return await edit.response()

    async def EditStream(self, request: edit_pb2.EditRequest, context: Context) -> AsyncGenerator[edit_pb2.EditEvent]:
        """Edit one image with progress events.

        Its results, one unless n are requested, or an error end the stream.
        """
        call = _call_context(request, context)
        async with aclosing(_stream(call.request_id, lambda: self._joined(request, call))) as events:
            async for event in events:
                yield event

    async def EditBatch(
        self, request_iterator: AsyncIterator[edit_pb2.EditRequest], context: Context
    ) -> AsyncGenerator[edit_pb2.EditEvent]:
        """Edit many images.

        Every request ends with its results or an error.
        """
        call = _call_context(None, context)
        if len(call.request_id) > MAX_BATCH_ID_LENGTH:
            raise InvalidArgument.field(REQUEST_ID_KEY, f"must have at most {MAX_BATCH_ID_LENGTH} characters here")
        run = partial(self._batch_item, call, set())
        async with aclosing(
            batch_stream.merge_events(request_iterator, run, limit=self._max_in_batch, idle_seconds=IDLE_SECONDS)
        ) as events:
            async for event in events:
                yield event

    async def CancelEdit(self, request: edit_pb2.CancelEditRequest, context: Context) -> edit_pb2.CancelEditResponse:
        """Cancel an edit of the same caller."""
        was_running = await self._registry.cancel(_key(request.request_id))
        return edit_pb2.CancelEditResponse(
            request_id=request.request_id,
            outcome=edit_pb2.CANCEL_OUTCOME_CANCELLED if was_running else edit_pb2.CANCEL_OUTCOME_FINISHED,
        )

    async def GetEdit(self, request: edit_pb2.GetEditRequest, context: Context) -> edit_pb2.GetEditResponse:
        """Where an edit of the same caller is."""
        found, answer = await self._registry.look_up(_key(request.request_id))
        if answer is not None:
            # Counted before it is copied. gRPC sends a copy of the copy.
            copies = self._admission.copy_of_answer(caller.get(), 2 * answer.ByteSize())
            calls.current.get().until_sent.enter_context(copies)
            found.result.CopyFrom(answer)
        return found

    async def EstimateEdit(self, request: edit_pb2.EditRequest, context: Context) -> edit_pb2.EstimateEditResponse:
        """How long an edit would take."""
        with self._admission.request(caller.get(), request.ByteSize()):
            return await self._editor.estimate(request, deadline_of(context))

    async def ListExperiments(
        self, request: edit_pb2.ListExperimentsRequest, context: Context
    ) -> edit_pb2.ListExperimentsResponse:
        """One page of the catalogue."""
        return pages.experiments_page(
            self._source.current.experiments, request, self._availability, self._prompts, self._loras
        )

    @asynccontextmanager
    async def _joined(self, request: edit_pb2.EditRequest, call: CallContext) -> AsyncIterator[Joined]:
        """The running or cached edit for this request."""
        joined = self._registry.join(
            Key(caller.get(), call.request_id),
            partial(fingerprint, request) if call.is_id_given else None,
            partial(self._editor.edit, request, call),
        )
        held = request.ByteSize()
        with self._admission.request(caller.get(), held):
            async with joined as edit:
                if edit.is_shared:
                    with ExitStack() as counted:
                        yield _Copied(edit, partial(self._count_copy, counted, caller.get(), held))
                else:
                    with self._counted(edit):
                        yield edit

    @contextmanager
    def _counted(self, edit: EditHandle) -> Iterator[None]:
        """Count a cached response like an edit until its caller has read it."""
        whose, is_over = caller.get(), False
        with ExitStack() as counted:

            def count(task: asyncio.Task[edit_pb2.EditResponse]) -> None:
                if not is_over and not task.cancelled() and task.exception() is None:
                    counted.enter_context(self._admission.response(whose, task.result().ByteSize()))

            edit.task.add_done_callback(count)
            try:
                yield
            finally:
                is_over = True

    def _count_copy(self, counted: ExitStack, whose: str, held: int, answer: edit_pb2.EditResponse) -> None:
        counted.enter_context(self._admission.copy_of_answer(whose, answer.ByteSize(), held=held))

    async def _batch_item(
        self, batch: CallContext, used_ids: set[str], number: int, request: edit_pb2.EditRequest
    ) -> AsyncGenerator[edit_pb2.EditEvent]:
        """The events of one request of a batch."""
        call = _item_context(batch, number, request)

        @asynccontextmanager
        async def joined() -> AsyncIterator[Joined]:
            calls.refuse_too_large(request)
            if call.request_id in used_ids:
                raise RequestIdInUse(f"request_id: {call.request_id!r} is that of an earlier request of this batch")
            used_ids.add(call.request_id)
            async with self._joined(request, call) as edit:
                yield edit

        with calls.sub_call(call.request_id):
            async with aclosing(_stream(call.request_id, joined)) as events:
                async for event in events:
                    yield event


class _Copied:
    """A joined edit, whose copy of the response is counted before it is sent."""

    def __init__(self, edit: EditHandle, count: Callable[[edit_pb2.EditResponse], None]) -> None:
        self._edit = edit
        self._count = count

    def events(self) -> AsyncGenerator[edit_pb2.EditEvent]:
        """The edit's events."""
        return self._edit.events()

    async def response(self) -> edit_pb2.EditResponse:
        """The edit's response. Also raises `TooManyEdits`."""
        answer = await self._edit.response()
        self._count(answer)
        return answer


def _key(request_id: str) -> Key:
    """The caller's own edit with this id.

    Raises `InvalidArgument` for a malformed id.
    """
    if not REQUEST_ID_PATTERN.fullmatch(request_id):
        raise InvalidArgument.field("request_id", "must be 1 to 64 letters, digits, '.', '_' or '-'")
    return Key(caller.get(), request_id)


async def _stream(request_id: str, joined: Joining) -> AsyncGenerator[edit_pb2.EditEvent]:
    """The events of an edit, ending with its results or with Edit's error."""
    has_results = False
    try:
        async with joined() as edit:
            async with aclosing(edit.events()) as events:
                async for event in events:
                    has_results |= event.HasField("result")
                    yield event
            response = await edit.response()
            if not has_results:
                for index, result in enumerate(single_results(response)):
                    yield edit_pb2.EditEvent(request_id=request_id, index=index, result=result)
    except Exception as raised:  # noqa: BLE001  # whatever it is, the edit ends with it
        yield edit_pb2.EditEvent(request_id=request_id, error=calls.reported_error(raised))


def fingerprint(request: edit_pb2.EditRequest) -> bytes:
    """A digest of all set fields except the id."""
    digest = hashlib.sha256()
    for field, value in request.ListFields():
        if field.name == "request_id":
            continue
        is_single = isinstance(value, bytes | str | Message) or not isinstance(value, Iterable)
        for part in [value] if is_single else value:
            data = _bytes_of(part)
            digest.update(f"{field.number}:{len(data)}:".encode())
            digest.update(data)
    return digest.digest()


def _bytes_of(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.SerializeToString(deterministic=True) if isinstance(value, Message) else str(value).encode()


def _call_context(request: edit_pb2.EditRequest | None, context: Context) -> CallContext:
    """The request id and the caller's deadline."""
    return CallContext(
        request_id=logs.request_id.get(),
        is_id_given=interceptors.given_request_id(request, context) is not None,
        is_second_run=_attempt(context) > 1,
        deadline=deadline_of(context),
    )


def _attempt(context: Context) -> int:
    """The proxy's attempt number of this call, from 1."""
    count = str(dict(context.invocation_metadata() or ()).get(ATTEMPT_KEY, "1"))
    return int(count) if _ATTEMPT.fullmatch(count) else 1


def _item_context(batch: CallContext, number: int, request: edit_pb2.EditRequest) -> CallContext:
    if REQUEST_ID_PATTERN.fullmatch(request.request_id):
        return replace(batch, request_id=request.request_id, is_id_given=True)
    return replace(batch, request_id=f"{batch.request_id}-{number}")
