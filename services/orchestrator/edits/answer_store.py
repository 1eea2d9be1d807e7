"""Kept answers and states in Valkey or Redis, which several orchestrators share.

The store never fails an edit: while it does not answer, each orchestrator knows its own edits only.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from google.protobuf.message import DecodeError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from imgedit.v1 import edit_pb2
from services.orchestrator import metrics
from services.orchestrator.edits import edit_status, store_scripts
from services.orchestrator.edits.admission import Admission
from services.orchestrator.edits.edit_record import Key, Record, StoredEdit

_log = logging.getLogger(__name__)

FORMAT = "imgedit:1"
"""Begins every key. Another format of records takes another number, so that both can be in one store."""

BEATS_PER_LEASE = 10

_BYTES_PER_SECOND = 10 * 2**20
"""Slowest transfer of an answer; its time adds to the limit of a call."""

_FAULTS = (RedisError, OSError, TimeoutError)

Message = TypeVar("Message", edit_pb2.GetEditResponse, edit_pb2.EditResponse)


@dataclass(frozen=True)
class Bounds:
    """The bounds of the store.

    nbytes: of all records. kept_seconds: of an ended edit. lease_seconds: of silence, after which an orchestrator
    counts as gone. call_seconds: longest wait for the store.
    """

    nbytes: int
    kept_seconds: float
    lease_seconds: float
    call_seconds: float


class AnswerStore:
    """The store, as one orchestrator sees it.

    Belongs to one event loop. While the store is lost no call waits for it; a regular beat finds it again.
    """

    def __init__(
        self, client: Redis, bounds: Bounds, admission: Admission, *, check: Callable[[], Awaitable[None]]
    ) -> None:
        """check: raises `SettingsError` if the store refuses the client."""
        self._check = check
        self._client = client
        self._bounds = bounds
        self._admission = admission
        self._replica = uuid.uuid4().hex
        self._is_lost = False
        self._refreshed: dict[str, Callable[[], Record]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._beating: asyncio.Task[None] | None = None
        self._claim, self._refresh, self._end, self._find = (
            client.register_script(script)
            for script in (store_scripts.CLAIM, store_scripts.REFRESH, store_scripts.END, store_scripts.FIND)
        )

    async def start(self) -> None:
        """Say that this orchestrator lives, now and regularly."""
        await self._check()
        await self._beat()
        self._beating = asyncio.create_task(self._beat_regularly())

    async def stop(self) -> None:
        """Finish the writes and close the connections."""
        if self._beating is not None:
            self._beating.cancel()
            await asyncio.wait({self._beating})
        if self._tasks:
            await asyncio.wait(self._tasks)
        with suppress(*_FAULTS):
            await self._client.aclose()

    async def claim(self, record: Record) -> tuple[str, int]:
        """Begin an edit.

        "free"; "taken" by another request; or "answered", with the bytes of the response.
        """
        reply = await self._call(partial(self._claim, **self._arguments(record, self._running_seconds)))
        return (reply[0].decode(), reply[1]) if reply else ("free", 0)

    def keep_fresh(self, run: str, record: Callable[[], Record]) -> None:
        """Write this record with every beat, until `end`."""
        self._refreshed[run] = record

    def forget(self, run: str) -> None:
        """Write the run's record no more."""
        self._refreshed.pop(run, None)

    async def end(self, record: Record, response: edit_pb2.EditResponse | None) -> None:
        """Write the end of an edit, and its response if it is within the bounds."""
        self.forget(record.run)
        if self._is_lost:
            return
        answer = response.SerializeToString() if response is not None else b""
        if len(answer) + store_scripts.RECORD_OVERHEAD_BYTES > self._bounds.nbytes:
            answer = b""
        arguments = self._arguments(record, self._bounds.kept_seconds, answer, self._bounds.nbytes)
        # The edit keeps its place until its answer is written.
        with self._admission.response(record.key.caller, 2 * len(answer)):
            total = await self._call(partial(self._end, **arguments), len(answer))
        if total is not None:
            metrics.ANSWER_STORE_BYTES.set(total)

    def end_later(self, record: Record) -> None:
        """Write an end without a response, in the background."""
        self.forget(record.run)
        task = asyncio.create_task(self.end(record, None))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def find(self, key: Key) -> StoredEdit | None:
        """The edit under this key; None if the store knows none, or is lost."""
        reply = await self._call(partial(self._find, keys=self._keys(key), args=[_REPLICA]))
        state = self._parsed(edit_pb2.GetEditResponse, reply[0], key) if reply else None
        if state is None:
            return None
        writer, was_running, is_running, nbytes = reply[1:]
        if was_running and not is_running:
            state = edit_status.lost_edit(key.request_id)
        return StoredEdit(state, writer.decode() == self._replica, bool(is_running), nbytes)

    async def response(self, key: Key, nbytes: int) -> edit_pb2.EditResponse | None:
        """The response under this key; None if it has been evicted, or the store is lost.

        Its bytes count against the caller's limits while they are read. Raises `TooManyEdits`.
        """
        with self._admission.copy_of_answer(key.caller, 2 * nbytes):
            answer = await self._call(lambda: self._client.hget(_record_key(key), "answer"), nbytes)
            found = self._parsed(edit_pb2.EditResponse, answer, key) if answer else None
        if answer and found is None:
            await self._call(lambda: self._client.delete(_record_key(key)))
        return found

    @property
    def _running_seconds(self) -> float:
        """How long a running edit's record lives.

        It outlives its orchestrator, so that callers learn of the loss.
        """
        return self._bounds.lease_seconds + self._bounds.kept_seconds

    def _arguments(self, record: Record, seconds: float, *more: bytes | int) -> dict[str, Any]:
        state = record.state.SerializeToString()
        args = [_REPLICA, record.digest, self._replica, record.run, state, _milliseconds(seconds), *more]
        return {"keys": self._keys(record.key), "args": args}

    def _keys(self, key: Key) -> list[str]:
        return [_record_key(key), f"{FORMAT}:ages", f"{FORMAT}:sizes"]

    async def _call(self, call: Callable[[], Awaitable[Any]], nbytes: int = 0) -> Any:
        """The reply; None while the store is lost."""
        if self._is_lost:
            return None
        try:
            async with asyncio.timeout(self._bounds.call_seconds + nbytes / _BYTES_PER_SECOND):
                return await call()
        except ResponseError as error:
            if str(error).startswith("WRONGTYPE"):
                metrics.ANSWER_STORE_ERRORS.labels("unreadable").inc()
            else:
                self._lose(error)
        except _FAULTS as error:
            self._lose(error)
        return None

    def _parsed(self, kind: type[Message], value: bytes, key: Key) -> Message | None:
        """The message; None, counted, if it is damaged or of another edit."""
        try:
            found = kind.FromString(value)
        except DecodeError:
            found = None
        if found is not None and found.request_id == key.request_id:
            return found
        metrics.ANSWER_STORE_ERRORS.labels("unreadable").inc()
        return None

    async def _beat_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._bounds.lease_seconds / BEATS_PER_LEASE)
            await self._beat()

    async def _beat(self) -> None:
        """Renew the lease, and with it the state of each running edit."""
        lease = _milliseconds(self._bounds.lease_seconds)
        try:
            async with asyncio.timeout(self._bounds.call_seconds):
                await self._client.set(f"{_REPLICA}{self._replica}", 1, px=lease)
        except _FAULTS as error:
            self._lose(error)
            return
        if self._is_lost:
            _log.info("the answer store answers again")
        self._is_lost = False
        metrics.ANSWER_STORE_LOST.set(0)
        for run, record in list(self._refreshed.items()):
            if run in self._refreshed:
                await self._call(partial(self._refresh, **self._arguments(record(), self._running_seconds)))

    def _lose(self, error: Exception) -> None:
        metrics.ANSWER_STORE_ERRORS.labels("refused" if isinstance(error, ResponseError) else "unreachable").inc()
        if not self._is_lost:
            _log.warning(
                "the answer store is lost (%s): until it answers again, each orchestrator knows its own edits only",
                str(error) or "no answer in time",
            )
        self._is_lost = True
        metrics.ANSWER_STORE_LOST.set(1)


_REPLICA = f"{FORMAT}:replica:"


def _record_key(key: Key) -> str:
    """The key of a caller and an id, from which neither can be read."""
    named = f"{len(key.caller)}:{key.caller}:{key.request_id}"
    return f"{FORMAT}:edit:{hashlib.sha256(named.encode()).hexdigest()}"


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
