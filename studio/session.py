"""The state of one session: input, run, results.

Lives in Streamlit's session state.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from imgedit.errors import ImgeditError, TryLater
from studio import pictures
from studio.batch_zip import BatchZip
from studio.pictures import Picture
from studio.runs import Result, Run

MAX_REMEMBERED = 64
"""Uploads that are kept opened, so that a rerun does not decode them again."""


@dataclass
class Session:
    """The state of a session; its end cancels running edits.

    chosen: a sample, or an earlier result, as the input. upload_round: increases to empty the uploader. shown: the
    displayed result. variants: those of "other seeds". numbers: of the edits. zipped, finished_batch: the results of
    the last batch. failed: why the last edit has no result. visit: identifies this session.
    """

    chosen: Picture | None = None
    upload_round: int = 0
    run: Run | None = None
    zipped: BatchZip | None = None
    finished_batch: Run | None = None
    failed: ImgeditError | None = None
    shown: Result | None = None
    variants: list[Result] = field(default_factory=list)
    history: list[Result] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    visit: object = field(default_factory=object)
    _opened: dict[str, Picture | ImgeditError] = field(default_factory=dict)
    _runs: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        weakref.finalize(self, _cancel_all, self._runs)

    def opened(self, upload: UploadedFile) -> Picture | ImgeditError:
        """An uploaded file as an image, or its error."""
        if upload.file_id not in self._opened:
            while len(self._opened) >= MAX_REMEMBERED:
                self._opened.pop(next(iter(self._opened)))
            opened = _open(upload, self.visit)
            if isinstance(opened, TryLater):
                return opened
            self._opened[upload.file_id] = opened
        return self._opened[upload.file_id]

    def choose(self, picture: Picture | None) -> None:
        """Use a sample or a result as input, and drop the upload."""
        self.chosen = picture
        self.upload_round += 1

    def begin(self, run: Run) -> None:
        """Follow this run from now on."""
        self.run = run
        self.failed = self.finished_batch = None
        self._runs[:] = [run]

    def add(self, results: Sequence[Result], limit: int) -> None:
        """Add results to the history, the newest first.

        The oldest are dropped above `limit` bytes.
        """
        self.history[:0] = reversed(results)
        total = 0
        for place, result in enumerate(self.history):
            total += result.byte_count
            if total > limit and place:
                del self.history[place:]
                return

    def look_at(self, result: Result) -> None:
        """Show an earlier result."""
        self.shown = result
        self.failed = self.finished_batch = None

    def forget(self) -> None:
        """Drop the results of this session."""
        self.history.clear()
        self.variants.clear()
        self.shown = None


def current() -> Session:
    """The session of this visit."""
    if "desk" not in st.session_state:
        st.session_state.desk = Session()
    found: Session = st.session_state.desk
    return found


def _cancel_all(runs: list[Run]) -> None:
    """Cancel on a separate thread: dropping a session must not wait for the server."""
    for run in runs:
        if not run.is_over:
            threading.Thread(target=run.cancel, name="studio-cancel", daemon=True).start()


def _open(upload: UploadedFile, visit: object) -> Picture | ImgeditError:
    try:
        return pictures.opened(upload.name, upload.getvalue(), visit)
    except ImgeditError as error:
        return error
