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
from imgedit.request import EditOptions
from studio import pictures
from studio.batch_zip import BatchZip
from studio.pictures import Picture
from studio.runs import Result, Run, Values

OF_THE_PAGE = ("language", "notify")
"""Inputs that hold for all edits, and that no result restores."""

MAX_REMEMBERED = 64
"""Uploads that are kept opened, so that a rerun does not decode them again."""


@dataclass
class Session:
    """The state of a session; its end cancels running edits.

    chosen: an input that is not an upload: a sample, an earlier result, or the upload before a refresh. upload_round:
    increases to empty the uploader. inputs, references, mask: the form's files at its last drawing. kept_references,
    kept_mask: those before a refresh. values: the form's values; pending: values for the next drawing. shown: the
    displayed result. variants: those of "other seeds". numbers: of the edits. zipped, finished_batch: the results of
    the last batch. failed: why the last edit has no result; failed_options: its options. visit: identifies this
    session. id: the tab's id.
    """

    chosen: list[Picture] = field(default_factory=list)
    upload_round: int = 0
    inputs: list[Picture] = field(default_factory=list)
    references: list[Picture] = field(default_factory=list)
    kept_references: list[Picture] = field(default_factory=list)
    mask: bytes | None = None
    kept_mask: bytes | None = None
    values: Values = field(default_factory=dict)
    pending: Values = field(default_factory=dict)
    id: str = ""
    run: Run | None = None
    zipped: BatchZip | None = None
    finished_batch: Run | None = None
    failed: ImgeditError | None = None
    failed_options: EditOptions | None = None
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
        """Make a sample or a result the input; what was uploaded goes."""
        self.chosen = [picture] if picture else []
        self.upload_round += 1

    def hold(self, inputs: list[Picture]) -> None:
        """Record the inputs.

        A different input replaces the displayed result.
        """
        if [id(picture) for picture in inputs] != [id(picture) for picture in self.inputs]:
            self.inputs = inputs
            if self.run is None:
                self.shown = self.failed = self.finished_batch = None

    def come_back(self) -> None:
        """Continue in another page: keep the files, since its uploaders are empty."""
        self.chosen, self.upload_round = self.inputs, self.upload_round + 1
        self.kept_references, self.kept_mask = self.references, self.mask
        self.pending = self.values

    def load(self, result: Result) -> None:
        """Restore the image and settings of a result, with its seed."""
        self.choose(result.source)
        self.inputs = self.chosen
        seed: Values = {"seed-how": "fixed", "seed": result.answer.seed}
        self.pending = {key: value for key, value in result.values.items() if key not in OF_THE_PAGE} | seed

    @property
    def byte_count(self) -> int:
        """What its pictures hold in memory, about: each once, those of uploads that are not in use, too."""
        opened = [picture for picture in self._opened.values() if isinstance(picture, Picture)]
        found = [*opened, *self.chosen, *self.inputs, *self.references, *self.kept_references]
        pictures = {id(picture): len(picture.data) + len(picture.view) for picture in found}
        return sum(pictures.values()) + sum(result.byte_count for result in self.history) + len(self.mask or b"")

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
    if "session" not in st.session_state:
        st.session_state.session = Session()
    found: Session = st.session_state.session
    return found


def take(session: Session) -> Session:
    """Go on with a session of before, in place of this page's own."""
    st.session_state.session = session
    return session


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
