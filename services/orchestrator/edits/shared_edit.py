"""One edit of this orchestrator, and its record in the answer store."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from imgedit.errors import RequestIdInUse, Resource
from imgedit.v1 import edit_pb2
from services.orchestrator import metrics
from services.orchestrator.edits.edit_record import Key, Record

if TYPE_CHECKING:  # redis takes a third of a second to import
    from services.orchestrator.edits.answer_store import AnswerStore


class SharedEdit:
    """An edit that other orchestrators can look up.

    asked: set once the store has answered, or is lost. is_from_store: it was there, so nothing runs.
    """

    def __init__(self, store: AnswerStore, key: Key, state: Callable[[], edit_pb2.GetEditResponse]) -> None:
        self.asked = asyncio.Event()
        self.is_from_store = False
        self._store = store
        self._key = key
        self._state = state
        self._digest = b""
        self._run = uuid.uuid4().hex
        self._is_told = False

    async def claim(self, digest: bytes) -> edit_pb2.EditResponse | None:
        """The response under this key; None = the edit is to run.

        The store then has it as running.

        digest: of the request; empty = the id was generated. Raises `RequestIdInUse` if the id belongs to another
        request, and `TooManyEdits` for a response over the limits.
        """
        self._digest = digest
        try:
            found, nbytes = await self._store.claim(self._record(self._state()))
            if found == "taken":
                self._is_told = True
                raise RequestIdInUse(
                    f"request_id: {self._key.request_id!r} is already the id of another request; use a new id for "
                    "each request",
                    resource=Resource("edit", self._key.request_id),
                )
            response = await self._store.response(self._key, nbytes) if found == "answered" else None
            if response is not None:
                metrics.EDITS_SHARED.labels("store").inc()
                self.is_from_store = self._is_told = True
                return response
            self._store.keep_fresh(self._run, lambda: self._record(self._state()))
            return None
        finally:
            self.asked.set()

    async def keep(self, response: edit_pb2.EditResponse) -> None:
        """Write the response, before any caller gets it.

        An orchestrator that is killed then loses no answer.
        """
        state = edit_pb2.GetEditResponse(request_id=self._key.request_id, state=edit_pb2.EDIT_STATE_SUCCEEDED)
        await self._store.end(self._record(state), response)
        self._is_told = True

    def end(self, state: edit_pb2.GetEditResponse) -> None:
        """Write the end, unless it was written with the response."""
        self.asked.set()
        if not self._is_told:
            self._store.end_later(self._record(state))

    def _record(self, state: edit_pb2.GetEditResponse) -> Record:
        return Record(self._key, self._digest, self._run, state)
