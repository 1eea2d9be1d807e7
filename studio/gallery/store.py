"""Finished edits on disk: one SQLite file, and one folder of files per edit.

Does not import Streamlit. Every path is made of an id that this module has drawn; a browser's id is only looked up.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Reason = Literal["full", "too_large", "broken"]

SCHEMA = 1
"""Written into the database; another one is refused, not migrated."""

LOCK_SECONDS = 10.0
"""How long one operation waits for another process."""

ORPHAN_SECONDS = 3600.0
"""Age of a folder without a row that is removed: its edit was never added, or is deleted already."""

_ID = re.compile(r"[0-9a-f]{32}")
_FILE = re.compile(r"[a-z]+(-[a-z0-9]+)*")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_TABLE = """
CREATE TABLE entry (
    id TEXT PRIMARY KEY, owner TEXT NOT NULL, request_id TEXT NOT NULL, made REAL NOT NULL, experiment TEXT NOT NULL,
    feature TEXT NOT NULL, prompt TEXT NOT NULL, starred INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL,
    thumb BLOB NOT NULL, details TEXT NOT NULL
)
"""
_INSERT = """
INSERT INTO entry (id, owner, request_id, made, experiment, feature, prompt, bytes, thumb, details)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_NEWEST = "SELECT * FROM entry WHERE owner = ? AND starred >= ? ORDER BY made DESC, rowid DESC LIMIT ?"
_BY_REQUEST = "SELECT * FROM entry WHERE owner = ? AND request_id = ? ORDER BY made DESC LIMIT 1"
_BY_ID = "SELECT * FROM entry WHERE owner = ? AND id = ?"
_OLDEST_FIRST = "SELECT id, owner, bytes FROM entry ORDER BY starred, made, rowid"


class GalleryError(Exception):
    """The gallery cannot do this now.

    reason: "full" = no space on the disk, "too_large" = over the limit by itself, "broken" = anything else.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


@dataclass(frozen=True)
class Draft:
    """An edit to add.

    request_id: of its request, with its place if the request made several. thumb: a small WebP file. details: JSON,
    opaque here. files: by name.
    """

    request_id: str
    experiment: str
    feature: str
    prompt: str
    thumb: bytes
    details: str
    files: Mapping[str, bytes]

    @property
    def byte_count(self) -> int:
        """Its bytes against the limits."""
        return len(self.thumb) + len(self.details.encode()) + sum(map(len, self.files.values()))


@dataclass(frozen=True)
class Entry:
    """An edit of the gallery, without its files.

    made: seconds since 1970.
    """

    id: str
    request_id: str
    made: float
    experiment: str
    feature: str
    prompt: str
    is_starred: bool
    byte_count: int
    thumb: bytes
    details: str


@dataclass(frozen=True)
class Limits:
    """Upper bounds; above them the oldest edits go, starred ones last.

    most_bytes: of everyone. owner_bytes: of one owner. keep_seconds: of an edit without a star.
    """

    most_bytes: int
    owner_bytes: int
    keep_seconds: float


class Gallery:
    """The edits of all owners; thread-safe.

    Several processes may share the folder. Nothing is opened before the first use. Each method raises `GalleryError`.
    """

    def __init__(self, folder: Path, limits: Limits, clock: Callable[[], float] = time.time) -> None:
        self.folder = folder
        self.limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._is_swept = False

    def add(self, owner: str, draft: Draft) -> None:
        """Write an edit: whole, or not at all. Above the limits the oldest then go."""
        if draft.byte_count > min(self.limits.owner_bytes, self.limits.most_bytes):
            raise GalleryError("too_large", f"the edit takes {draft.byte_count} bytes, more than the gallery may hold")
        id = secrets.token_hex(16)
        row = (id, owner, draft.request_id, self._clock(), draft.experiment, draft.feature, draft.prompt)
        try:
            self._write(id, draft.files)
            with self._open() as database, _transaction(database):
                database.execute(_INSERT, (*row, draft.byte_count, draft.thumb, draft.details))
                gone = [*self._expired(database), *self._surplus(database, owner, id)]
                _drop(database, gone)
        except BaseException:
            self._remove([id])
            raise
        self._remove(gone)

    def entries(self, owner: str, *, count: int, starred: bool = False) -> tuple[list[Entry], int]:
        """The newest edits of an owner, at most `count`, and how many there are."""
        given = (owner, int(starred))
        with self._open() as database:
            with _transaction(database):
                gone = self._expired(database)
                _drop(database, gone)
            rows = database.execute(_NEWEST, (*given, count)).fetchall()
            counted = database.execute("SELECT count(*) FROM entry WHERE owner = ? AND starred >= ?", given)
            [total] = counted.fetchone()
        self._remove(gone)
        return [_entry(row) for row in rows], total

    def find(self, owner: str, request_id: str) -> Entry | None:
        """The edit of this id of a request, if it is the owner's and still there."""
        with self._open() as database:
            row = database.execute(_BY_REQUEST, (owner, request_id)).fetchone()
        return _entry(row) if row else None

    def entry(self, owner: str, id: str) -> Entry | None:
        """The edit of this id, if it is the owner's and still there."""
        with self._open() as database:
            row = database.execute(_BY_ID, (owner, id)).fetchone()
        return _entry(row) if row else None

    def files(self, entry: Entry) -> dict[str, bytes]:
        """The files of an edit by name."""
        try:
            return {path.name: path.read_bytes() for path in sorted(self._folder(entry.id).iterdir())}
        except OSError as error:
            raise GalleryError("broken", str(error)) from error

    def star(self, owner: str, id: str, *, is_starred: bool) -> None:
        """Give or take the star."""
        with self._open() as database, _transaction(database):
            database.execute("UPDATE entry SET starred = ? WHERE owner = ? AND id = ?", (int(is_starred), owner, id))

    def delete(self, owner: str, id: str) -> None:
        """Remove one edit; nothing happens if it is not the owner's."""
        with self._open() as database, _transaction(database):
            gone = [found for (found, *_) in database.execute(_BY_ID, (owner, id))]
            _drop(database, gone)
        self._remove(gone)

    def clear(self, owner: str) -> None:
        """Remove all edits of an owner, also the starred ones."""
        with self._open() as database, _transaction(database):
            gone = [id for (id,) in database.execute("SELECT id FROM entry WHERE owner = ?", (owner,))]
            _drop(database, gone)
        self._remove(gone)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One connection per operation: the disk may be gone, or another one, at the next."""
        with self._lock, _told():
            self._edits()
            database = sqlite3.connect(self.folder / "gallery.sqlite", timeout=LOCK_SECONDS, isolation_level=None)
            database.row_factory = sqlite3.Row
            try:
                _prepare(database)
                if not self._is_swept:
                    self._sweep(database)
                    self._is_swept = True
                yield database
            finally:
                database.close()

    def _expired(self, database: sqlite3.Connection) -> list[str]:
        """Those that are too old; a star keeps an edit."""
        oldest = self._clock() - self.limits.keep_seconds
        return [id for (id,) in database.execute("SELECT id FROM entry WHERE starred = 0 AND made < ?", (oldest,))]

    def _surplus(self, database: sqlite3.Connection, owner: str, new: str) -> list[str]:
        """Those above the limits: first of the owner, then of everyone."""
        rows = database.execute(_OLDEST_FIRST).fetchall()
        own = [(id, size) for id, whose, size in rows if whose == owner]
        gone = _above(own, self.limits.owner_bytes, but=new)
        left = [(id, size) for id, _, size in rows if id not in gone]
        return [*gone, *_above(left, self.limits.most_bytes, but=new)]

    def _write(self, id: str, files: Mapping[str, bytes]) -> None:
        """All files of an edit, on the disk before its row."""
        with _told():
            unfinished = self._edits() / f"{id}.part"
            try:
                unfinished.mkdir(mode=0o700)
                for name, data in files.items():
                    if not _FILE.fullmatch(name):
                        raise ValueError(f"{name!r} is not a file name of the gallery")
                    _write_through(unfinished / name, data)
                unfinished.rename(self._folder(id))
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
            _sync(self.folder / "edits")

    def _remove(self, ids: list[str]) -> None:
        """Remove the files of deleted rows, or leave them to the next start's sweep."""
        for id in ids:
            shutil.rmtree(self._folder(id), ignore_errors=True)

    def _sweep(self, database: sqlite3.Connection) -> None:
        """Remove the folders that a crash has left without a row."""
        known = {id for (id,) in database.execute("SELECT id FROM entry")}
        for path in (self.folder / "edits").iterdir():
            is_ours = _ID.fullmatch(path.name.removesuffix(".part")) is not None
            if is_ours and path.name not in known and time.time() - path.stat().st_mtime > ORPHAN_SECONDS:
                shutil.rmtree(path, ignore_errors=True)

    def _edits(self) -> Path:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self.folder / "edits"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def _folder(self, id: str) -> Path:
        if not _ID.fullmatch(id):  # of a database that somebody else has written
            raise GalleryError("broken", f"{id!r} is not an id of the gallery")
        return self.folder / "edits" / id


def _prepare(database: sqlite3.Connection) -> None:
    [version] = database.execute("PRAGMA user_version").fetchone()
    if version == 0:
        with _transaction(database):
            [version] = database.execute("PRAGMA user_version").fetchone()
            if version == 0:  # no other process was faster
                database.execute(_TABLE)
                database.execute("CREATE INDEX entry_by_owner ON entry (owner, made)")
                database.execute(f"PRAGMA user_version = {SCHEMA}")
    elif version != SCHEMA:
        raise GalleryError("broken", f"the gallery has the schema {version}; this version reads {SCHEMA}")


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


@contextmanager
def _told() -> Iterator[None]:
    """Faults of the disk and of the database as `GalleryError`."""
    try:
        yield
    except sqlite3.Error as error:
        is_full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        raise GalleryError("full" if is_full else "broken", str(error)) from error
    except OSError as error:
        raise GalleryError("full" if error.errno in _NO_SPACE else "broken", str(error)) from error


def _above(rows: list[tuple[str, int]], most: int, *, but: str) -> list[str]:
    """The first rows that must go so that the rest takes at most `most` bytes."""
    total, gone = sum(size for _, size in rows), []
    for id, size in rows:
        if total <= most:
            break
        if id != but:
            gone.append(id)
            total -= size
    return gone


def _drop(database: sqlite3.Connection, ids: list[str]) -> None:
    database.executemany("DELETE FROM entry WHERE id = ?", [(id,) for id in ids])


def _entry(row: sqlite3.Row) -> Entry:
    return Entry(
        id=row["id"],
        request_id=row["request_id"],
        made=row["made"],
        experiment=row["experiment"],
        feature=row["feature"],
        prompt=row["prompt"],
        is_starred=bool(row["starred"]),
        byte_count=row["bytes"],
        thumb=row["thumb"],
        details=row["details"],
    )


def _write_through(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
