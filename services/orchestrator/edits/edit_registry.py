"""Running and recently finished edits, by caller and request id.

The same request under the same id joins the running edit or takes the cached response. An edit is cancelled when its
last subscriber leaves. With an answer store, other orchestrators see states and responses too.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from imgedit.errors import EditCancelled, RequestIdInUse, RequestNotFound, Resource
from imgedit.v1 import edit_pb2
from services.orchestrator import metrics
from services.orchestrator.edits import edit_status
from services.orchestrator.edits.edit_record import Key
from services.orchestrator.edits.shared_edit import SharedEdit

if TYPE_CHECKING:  # redis takes a third of a second to import
    from services.orchestrator.edits.answer_store import AnswerStore

Fingerprint = Callable[[], bytes]
"""Computes a digest of a request; called in a thread."""

Work = Callable[["EventLog"], Coroutine[Any, Any, edit_pb2.EditResponse]]
"""Carries out an edit, and logs its events."""


@dataclass(frozen=True)
class Limits:
    """Limits on cached responses: age, count and bytes."""

    seconds: float
    count: int
    nbytes: int


class EditHandle:
    """A running or cached edit, shared by all its subscribers.

    `fingerprint` is None for a generated id, `shared` without an answer store.
    """

    def __init__(
        self,
        task: asyncio.Task[edit_pb2.EditResponse],
        fingerprint: asyncio.Task[bytes] | None,
        events: EventLog,
        shared: SharedEdit | None = None,
    ) -> None:
        self.task = task
        self.fingerprint = fingerprint
        self.shared = shared
        self.is_abandoned = False
        self._events = events
        self._subscribers = 0

    @contextmanager
    def subscribed(self) -> Iterator[None]:
        """Subscribe while inside.

        The edit is cancelled when its last subscriber leaves early.
        """
        self._subscribers += 1
        try:
            yield
        finally:
            self._subscribers -= 1
            if not self._subscribers and not self.task.done() and not self.is_abandoned:
                self.cancel("left")

    def cancel(self, cause: Literal["left", "asked"]) -> None:
        """Cancel it; the same request then starts a new edit."""
        metrics.EDITS_CANCELLED.labels(cause).inc()
        self.is_abandoned = True
        self.task.cancel()

    @property
    def is_shared(self) -> bool:
        """Whether a new subscriber gets a further copy of the response."""
        is_from_store = self.shared is not None and self.shared.is_from_store
        return self.task.done() or self._subscribers > 1 or is_from_store

    def events(self) -> AsyncGenerator[edit_pb2.EditEvent]:
        """Every event from the first one on, until the edit ends."""
        return self._events.follow()

    @property
    def events_so_far(self) -> Sequence[edit_pb2.EditEvent]:
        """Those that it has reported until now."""
        return self._events.so_far

    async def response(self) -> edit_pb2.EditResponse:
        """Its response, once it has ended.

        Raises the edit's error, or `EditCancelled`.
        """
        await asyncio.wait({self.task})
        if self.task.cancelled():
            raise EditCancelled("the edit was cancelled")
        return self.task.result()

    @property
    def is_refused(self) -> bool:
        """Whether the ended edit did not run, because its id belongs to another request."""
        return not self.task.cancelled() and isinstance(self.task.exception(), RequestIdInUse)

    def cached(self) -> EditHandle | None:
        """The cached response of the ended edit, without its events.

        None if it must not be cached.
        """
        if self.fingerprint is None or self.task.cancelled() or self.task.exception() is not None:
            return None
        return EditHandle(self.task, self.fingerprint, EventLog(is_ended=True))


class EventLog:
    """The events of one edit, for any number of readers."""

    def __init__(self, *, is_ended: bool = False) -> None:
        self._log: list[edit_pb2.EditEvent] = []
        self._is_ended = is_ended
        self._news = asyncio.Event()

    def add(self, event: edit_pb2.EditEvent) -> None:
        """Append one event."""
        self._log.append(event)
        self._wake()

    def end(self) -> None:
        """Mark the end of the events."""
        self._is_ended = True
        self._wake()

    @property
    def so_far(self) -> Sequence[edit_pb2.EditEvent]:
        """Those there are."""
        return self._log

    async def follow(self) -> AsyncGenerator[edit_pb2.EditEvent]:
        """All events so far, then new ones until the end."""
        seen = 0
        while seen < len(self._log) or not self._is_ended:
            if seen < len(self._log):
                yield self._log[seen]
                seen += 1
            else:
                await self._news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@dataclass
class _Finished:
    """An ended edit; `edit` is None if no response is cached.

    told: its end, without the response.
    """

    edit: EditHandle | None
    nbytes: int
    told: edit_pb2.GetEditResponse


class EditRegistry:
    """The registry of running and ended edits.

    Belongs to one event loop. A failed edit is not cached: its request runs again, and a corrected one may use the id.
    """

    def __init__(self, limits: Limits, store: AnswerStore | None = None) -> None:
        self._limits = limits
        self._store = store
        self._running: dict[Key, EditHandle] = {}
        self._ended: OrderedDict[Key, _Finished] = OrderedDict()
        self._tasks: set[asyncio.Task[edit_pb2.EditResponse]] = set()  # asyncio holds tasks only weakly

    @property
    def cached_bytes(self) -> int:
        """Bytes of the cached responses."""
        return sum(ended.nbytes for ended in self._ended.values())

    @asynccontextmanager
    async def join(self, key: Key, fingerprint: Fingerprint | None, work: Work) -> AsyncIterator[EditHandle]:
        """The edit under this key.

        The running or cached one, else a new one that runs `work`. `fingerprint` None: the id was generated, so nobody
        can repeat it and no response is cached. Raises `RequestIdInUse` if the id belongs to another request.
        """
        edit = await self._find(key, fingerprint) or self._start(key, fingerprint, work)
        with edit.subscribed():
            if edit.shared is not None:
                await edit.shared.asked.wait()
            yield edit

    async def cancel(self, key: Key) -> bool:
        """Cancel an edit.

        True if it was running, False if it had ended. Raises `RequestNotFound`.
        """
        edit = self._running.get(key)
        if edit is not None:
            if not edit.is_abandoned:
                edit.cancel("asked")
            await asyncio.wait({edit.task})
            return edit.task.cancelled()
        if key in self._ended:
            return False
        stored = await self._store.find(key) if self._store is not None else None
        if stored is None:
            raise _not_found(key, "; closing an edit's call always cancels it")
        if stored.is_running:
            raise _not_found(key, "; another replica runs it now: send its id as the header x-imgedit-request-id too")
        return False

    async def look_up(self, key: Key) -> tuple[edit_pb2.GetEditResponse, edit_pb2.EditResponse | None]:
        """The state of an edit, and its response while cached.

        Raises `RequestNotFound`.
        """
        edit = self._running.get(key)
        if edit is not None and edit.is_abandoned:
            await asyncio.wait({edit.task})
            edit = self._running.get(key)
        if edit is not None:
            return edit_status.running_edit(key.request_id, edit.events_so_far), None
        ended = self._ended.get(key)
        if ended is None or ended.edit is None:
            stored = await self._stored(key, is_known=ended is not None)
            if stored is not None:
                return stored
        if ended is None:
            raise _not_found(key)
        found = edit_pb2.GetEditResponse()
        found.CopyFrom(ended.told)
        return found, ended.edit.task.result() if ended.edit is not None else None

    async def _stored(
        self, key: Key, *, is_known: bool
    ) -> tuple[edit_pb2.GetEditResponse, edit_pb2.EditResponse | None] | None:
        """The state and response from the answer store; None if it has nothing new.

        is_known: this one ran it and knows its end, which may not be written yet.
        """
        stored = await self._store.find(key) if self._store is not None else None
        if self._store is None or stored is None or (is_known and stored.is_own and not stored.nbytes):
            return None
        return stored.state, await self._store.response(key, stored.nbytes) if stored.nbytes else None

    async def _find(self, key: Key, fingerprint: Fingerprint | None) -> EditHandle | None:
        if self._held(key) is None:
            return None
        mine = await asyncio.to_thread(fingerprint) if fingerprint is not None else None
        edit = self._held(key)  # checked again: it may have ended meanwhile
        if edit is None:
            return None
        theirs = await asyncio.shield(edit.fingerprint) if edit.fingerprint is not None else None
        if mine is None or mine != theirs:
            raise RequestIdInUse(
                f"request_id: {key.request_id!r} is already the id of another request; use a new id for each request",
                resource=Resource("edit", key.request_id),
            )
        if edit.is_abandoned:
            return None
        metrics.EDITS_SHARED.labels("kept" if edit.task.done() else "running").inc()
        return edit

    def _held(self, key: Key) -> EditHandle | None:
        running = self._running.get(key)
        if running is not None and not running.is_abandoned:
            return running
        return self._ended[key].edit if key in self._ended else None

    def _start(self, key: Key, fingerprint: Fingerprint | None, work: Work) -> EditHandle:
        events: EventLog = EventLog()
        digest = asyncio.create_task(asyncio.to_thread(fingerprint)) if fingerprint is not None else None
        shared = self._shared(key, events)
        task = asyncio.create_task(_run_shared(shared, digest, work, events) if shared is not None else work(events))
        edit = EditHandle(task, digest, events, shared)
        self._running[key] = edit
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._end(key, edit))
        task.add_done_callback(lambda _: events.end())
        return edit

    def _shared(self, key: Key, events: EventLog) -> SharedEdit | None:
        if self._store is None:
            return None
        return SharedEdit(self._store, key, lambda: edit_status.running_edit(key.request_id, events.so_far))

    def _end(self, key: Key, edit: EditHandle) -> None:
        self._tasks.discard(edit.task)
        if self._running.get(key) is edit:
            del self._running[key]
        told = edit_status.ended_edit(key.request_id, edit.task)
        if edit.shared is not None:
            edit.shared.end(told)
        if edit.is_refused:
            return
        kept = edit.cached()
        nbytes = edit.task.result().ByteSize() if kept is not None else 0
        ended = _Finished(kept, nbytes, told)
        self._ended.pop(key, None)
        self._ended[key] = ended
        asyncio.get_running_loop().call_later(self._limits.seconds, self._expire, key, ended)
        self._shrink()
        metrics.CACHED_RESPONSE_BYTES.set(self.cached_bytes)

    def _shrink(self) -> None:
        """Evict the oldest entries over the count and the oldest responses over the size."""
        while len(self._ended) > self._limits.count:
            self._ended.popitem(last=False)
        surplus = self.cached_bytes - self._limits.nbytes
        for ended in self._ended.values():
            if surplus <= 0:
                return
            surplus -= ended.nbytes
            ended.edit, ended.nbytes = None, 0

    def _expire(self, key: Key, ended: _Finished) -> None:
        if self._ended.get(key) is ended:
            del self._ended[key]
            metrics.CACHED_RESPONSE_BYTES.set(self.cached_bytes)


async def _run_shared(
    shared: SharedEdit, fingerprint: asyncio.Task[bytes] | None, work: Work, events: EventLog
) -> edit_pb2.EditResponse:
    """The response from the answer store, else from the work.

    The latter is then written there.
    """
    response = await shared.claim(await asyncio.shield(fingerprint) if fingerprint is not None else b"")
    if response is None:
        response = await work(events)
        if fingerprint is not None:
            await shared.keep(response)
    return response


def _not_found(key: Key, advice: str = "") -> RequestNotFound:
    return RequestNotFound(
        f"this server holds no edit of this caller with the request id {key.request_id!r}: it may be at another "
        f"replica, or long finished{advice}",
        korean="이 서버에는 그 요청 ID의 작업이 없습니다. 다른 서버에 있거나 이미 오래전에 끝났을 수 있습니다.",
        resource=Resource("edit", key.request_id),
    )
