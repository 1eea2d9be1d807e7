"""The edits that run here and those that ended lately, by caller and request id.

The same request under the same id joins the edit that runs, or takes the answer that is kept; an edit that all who
wait for it have left is cancelled. Knows nothing of what an edit, its events or its answer are.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from imgedit.errors import EditCancelled, RequestIdInUse, RequestNotFound, Resource
from services.orchestrator import metrics

E = TypeVar("E")
A = TypeVar("A")

Fingerprint = Callable[[], bytes]
"""Computes a digest of a request; called in a thread."""

Work = Callable[[Callable[[E], None]], Coroutine[Any, Any, A]]
"""Does an edit; is given the function that takes its events."""


@dataclass(frozen=True)
class Key:
    """Who asked, and under which id: an id means nothing to another caller."""

    caller: str
    request_id: str


@dataclass(frozen=True)
class Limits:
    """How long, how many and in how many bytes ended edits are kept."""

    seconds: float
    count: int
    nbytes: int


class HeldEdit(Generic[E, A]):
    """An edit that runs, or one that has ended and whose answer is kept, for all who asked for it.

    `fingerprint` is None for an id that was made up here.
    """

    def __init__(self, task: asyncio.Task[A], fingerprint: asyncio.Task[bytes] | None, events: Events[E]) -> None:
        self.task = task
        self.fingerprint = fingerprint
        self.is_abandoned = False
        self._events = events
        self._followers = 0

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Wait for it inside; when the last one who waits leaves too early, the edit is cancelled."""
        self._followers += 1
        try:
            yield
        finally:
            self._followers -= 1
            if not self._followers and not self.task.done() and not self.is_abandoned:
                self.cancel("left")

    def cancel(self, cause: Literal["left", "asked"]) -> None:
        """End it; whoever asks for the same from now on starts anew."""
        metrics.EDITS_CANCELLED.labels(cause).inc()
        self.is_abandoned = True
        self.task.cancel()

    def events(self) -> AsyncGenerator[E]:
        """Every event from the first one on, until the edit ends."""
        return self._events.follow()

    async def answer(self) -> A:
        """Its answer, once it has ended. Raises what the edit raised, or `EditCancelled`."""
        await asyncio.wait({self.task})
        if self.task.cancelled():
            raise EditCancelled("the edit was cancelled")
        return self.task.result()

    def kept(self) -> HeldEdit[E, A] | None:
        """What is kept of it once it has ended: its answer, without the events; None where it may not be kept."""
        if self.fingerprint is None or self.task.cancelled() or self.task.exception() is not None:
            return None
        return HeldEdit(self.task, self.fingerprint, Events(is_ended=True))


class Events(Generic[E]):
    """The events of one edit, which any number of followers read from the first to the last."""

    def __init__(self, *, is_ended: bool = False) -> None:
        self._log: list[E] = []
        self._is_ended = is_ended
        self._news = asyncio.Event()

    def add(self, event: E) -> None:
        """One more."""
        self._log.append(event)
        self._wake()

    def end(self) -> None:
        """No more will come."""
        self._is_ended = True
        self._wake()

    async def follow(self) -> AsyncGenerator[E]:
        """Those there are, then those that come, until the end."""
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
class _Ended(Generic[E, A]):
    """An edit that has ended; `edit` is None where no answer is kept."""

    edit: HeldEdit[E, A] | None
    nbytes: int


class Ledger(Generic[E, A]):
    """What runs and what ended. Belongs to one event loop; `size_of` says how many bytes an answer takes.

    A failed edit is not kept: the same request under its id runs again, and a corrected one may use the id.
    """

    def __init__(self, limits: Limits, *, size_of: Callable[[A], int]) -> None:
        self._limits = limits
        self._size_of = size_of
        self._running: dict[Key, HeldEdit[E, A]] = {}
        self._ended: OrderedDict[Key, _Ended[E, A]] = OrderedDict()
        self._tasks: set[asyncio.Task[A]] = set()  # asyncio itself holds tasks weakly

    @property
    def kept_bytes(self) -> int:
        """Bytes of the answers that are kept."""
        return sum(ended.nbytes for ended in self._ended.values())

    @asynccontextmanager
    async def joined(
        self, key: Key, fingerprint: Fingerprint | None, work: Work[E, A]
    ) -> AsyncIterator[HeldEdit[E, A]]:
        """The edit under this key: the one that runs or ended well, else a new one that does `work`.

        `fingerprint` None = the id was made up here, so nobody can ask for it again and no answer is kept.
        Raises `RequestIdInUse` when the id is another request's.
        """
        edit = await self._find(key, fingerprint) or self._start(key, fingerprint, work)
        with edit.followed():
            yield edit

    async def cancel(self, key: Key) -> bool:
        """End an edit: True when it ran until now, False when it had ended before. Raises `RequestNotFound`."""
        edit = self._running.get(key)
        if edit is not None:
            if not edit.is_abandoned:
                edit.cancel("asked")
            await asyncio.wait({edit.task})
            return edit.task.cancelled()
        if key in self._ended:
            return False
        raise RequestNotFound(
            f"this server holds no edit with the request id {key.request_id!r} of yours: it may be at another replica, "
            "or long finished; closing an edit's call always cancels it",
            korean="이 서버에는 그 요청 번호의 작업이 없습니다. 다른 서버에 있거나 이미 오래전에 끝났을 수 있습니다.",
            resource=Resource("edit", key.request_id),
        )

    async def _find(self, key: Key, fingerprint: Fingerprint | None) -> HeldEdit[E, A] | None:
        if self._held(key) is None:
            return None
        mine = await asyncio.to_thread(fingerprint) if fingerprint is not None else None
        edit = self._held(key)  # asked again: it may have ended meanwhile
        if edit is None:
            return None
        theirs = await asyncio.shield(edit.fingerprint) if edit.fingerprint is not None else None
        if mine is None or mine != theirs:
            raise RequestIdInUse(
                f"request_id: {key.request_id!r} is the id of another request of yours; use a new id for each request",
                resource=Resource("edit", key.request_id),
            )
        if edit.is_abandoned:
            return None
        metrics.EDITS_SHARED.labels("kept" if edit.task.done() else "running").inc()
        return edit

    def _held(self, key: Key) -> HeldEdit[E, A] | None:
        running = self._running.get(key)
        if running is not None and not running.is_abandoned:
            return running
        return self._ended[key].edit if key in self._ended else None

    def _start(self, key: Key, fingerprint: Fingerprint | None, work: Work[E, A]) -> HeldEdit[E, A]:
        events: Events[E] = Events()
        task = asyncio.create_task(work(events.add))
        digest = asyncio.create_task(asyncio.to_thread(fingerprint)) if fingerprint is not None else None
        edit = HeldEdit(task, digest, events)
        self._running[key] = edit
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._end(key, edit))
        task.add_done_callback(lambda _: events.end())
        return edit

    def _end(self, key: Key, edit: HeldEdit[E, A]) -> None:
        self._tasks.discard(edit.task)
        if self._running.get(key) is edit:
            del self._running[key]
        kept = edit.kept()
        ended = _Ended(kept, self._size_of(edit.task.result()) if kept is not None else 0)
        self._ended.pop(key, None)
        self._ended[key] = ended
        asyncio.get_running_loop().call_later(self._limits.seconds, self._expire, key, ended)
        self._shrink()
        metrics.KEPT_ANSWER_BYTES.set(self.kept_bytes)

    def _shrink(self) -> None:
        """Forget the oldest ones over the count, and the answers of the oldest over the bytes."""
        while len(self._ended) > self._limits.count:
            self._ended.popitem(last=False)
        surplus = self.kept_bytes - self._limits.nbytes
        for ended in self._ended.values():
            if surplus <= 0:
                return
            surplus -= ended.nbytes
            ended.edit, ended.nbytes = None, 0

    def _expire(self, key: Key, ended: _Ended[E, A]) -> None:
        if self._ended.get(key) is ended:
            del self._ended[key]
            metrics.KEPT_ANSWER_BYTES.set(self.kept_bytes)
