"""The identity of an edit, and its record in the answer store."""

from __future__ import annotations

from dataclasses import dataclass

from imgedit.v1 import edit_pb2


@dataclass(frozen=True)
class Key:
    """Caller and request id: ids are scoped to their caller."""

    caller: str
    request_id: str


@dataclass(frozen=True)
class Record:
    """An edit as its orchestrator writes it.

    digest: of the request; empty = the id was generated. run: tells two edits under one key apart.
    """

    key: Key
    digest: bytes
    run: str
    state: edit_pb2.GetEditResponse


@dataclass(frozen=True)
class StoredEdit:
    """An edit as the store has it.

    is_own: this orchestrator wrote it. nbytes: of its response; 0 = none.
    """

    state: edit_pb2.GetEditResponse
    is_own: bool
    is_running: bool
    nbytes: int
