"""The state of one session: input, run, results.

Lives in Streamlit's session state.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from imgedit.errors import ImgeditError, TryLater
from imgedit.request import EditOptions
from imgedit.sync_client import SyncEditClient
from studio import input_images
from studio.batch import Batch
from studio.input_images import InputImage
from studio.line import Job, Line
from studio.runs import Result, Run, Task, Values

OF_THE_PAGE = ("language", "notify")
"""Inputs that hold for all edits, and that no result restores."""

MOST_BATCHES = 8
"""Batches of a session, in line or ended; each has a file on disk."""

MAX_REMEMBERED, MAX_REMEMBERED_BYTES = 64, 512 * 1024**2
"""Uploads that are kept opened, so that a rerun does not decode them again, and the bytes of their files."""


@dataclass(frozen=True)
class Repainted:
    """A preview of the area to repaint, red on the image.

    key: identifies the image and the options. caption: the key of its text.
    """

    key: tuple[object, ...]
    view: bytes
    caption: str


@dataclass
class Session:
    """The state of a session; its end cancels running edits.

    chosen: an input that is not an upload: a sample, an earlier result, or the upload before a refresh. upload_round:
    increases to empty the uploader. inputs, references, mask: the form's files at its last drawing. kept_references,
    kept_mask: those before a refresh. repainted: the last mask preview. brush_base: the brush's initial mask, with the
    id of its request. values: the form's values; pending: values for the next drawing. shown: the displayed result.
    variants: the results of its request, if it had several. numbers: of the edits; batch_numbers: of the batches. line:
    the running edit and those that wait. failures: of edits in company, with their names. refused: the key of why the
    last press was refused. is_cropping: the crop tool is open. is_looking: an earlier result is displayed while an edit
    runs. batches: those that have ended, the newest first; shown_batch: the displayed one. failed: why the last edit
    has no result; failed_options: its options. not_kept: why the gallery does not hold the last results. visit:
    identifies this session. id: the tab's id.
    """

    chosen: list[InputImage] = field(default_factory=list)
    upload_round: int = 0
    inputs: list[InputImage] = field(default_factory=list)
    references: list[InputImage] = field(default_factory=list)
    kept_references: list[InputImage] = field(default_factory=list)
    mask: bytes | None = None
    kept_mask: bytes | None = None
    repainted: Repainted | None = None
    brush_base: tuple[str, bytes | None] | None = None
    values: Values = field(default_factory=dict)
    pending: Values = field(default_factory=dict)
    id: str = ""
    line: Line = field(default_factory=Line)
    failures: list[tuple[str, ImgeditError]] = field(default_factory=list)
    refused: str | None = None
    is_cropping: bool = False
    is_looking: bool = False
    batches: list[Batch] = field(default_factory=list)
    shown_batch: Batch | None = None
    failed: ImgeditError | None = None
    failed_options: EditOptions | None = None
    not_kept: str | None = None
    shown: Result | None = None
    variants: list[Result] = field(default_factory=list)
    history: list[Result] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    batch_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    visit: object = field(default_factory=object)
    _opened: dict[str, InputImage | ImgeditError] = field(default_factory=dict)

    def __post_init__(self) -> None:
        weakref.finalize(self, _close, self.line)

    @property
    def run(self) -> Run | None:
        """The running edits, or those that have ended since the page last looked."""
        current = self.line.current
        return current.run if current else None

    def opened(self, upload: UploadedFile) -> InputImage | ImgeditError:
        """An uploaded file as an image, or its error."""
        if upload.file_id not in self._opened:
            opened = _open(upload, self.visit)
            if isinstance(opened, TryLater):
                return opened
            self._opened[upload.file_id] = opened
            self._forget_opened(but=upload.file_id)
        return self._opened[upload.file_id]

    def _forget_opened(self, *, but: str) -> None:
        """Forget the oldest uploads until the rest is within its limits.

        Streamlit may have dropped them long before.
        """
        sizes = {id: _size(opened) for id, opened in self._opened.items()}
        for id in [*sizes]:
            if len(sizes) <= MAX_REMEMBERED and sum(sizes.values()) <= MAX_REMEMBERED_BYTES:
                return
            if id != but:
                del sizes[id], self._opened[id]

    def choose(self, picture: InputImage | None) -> None:
        """Make a sample or a result the input; what was uploaded goes."""
        self.chosen = [picture] if picture else []
        self.upload_round += 1

    def hold(self, inputs: list[InputImage]) -> None:
        """Record the inputs.

        A different input replaces the displayed result.
        """
        if [id(picture) for picture in inputs] != [id(picture) for picture in self.inputs]:
            self.inputs, self.is_looking, self.is_cropping = inputs, False, False
            if self.run is None:
                self.shown = self.failed = self.shown_batch = None

    def come_back(self) -> None:
        """Continue in another page: keep the files, since its uploaders are empty."""
        self.chosen, self.upload_round = self.inputs, self.upload_round + 1
        self.kept_references, self.kept_mask = self.references, self.mask
        self.pending = self.values

    def load(self, result: Result) -> None:
        """Restore the image and settings of a result, with its seed."""
        self.choose(result.source)
        self.inputs = self.chosen
        seed: Values = {"seed-how": "fixed", "seed": result.answer.seed, "n": 1} if result.is_painted else {}
        self.pending = {key: value for key, value in result.values.items() if key not in OF_THE_PAGE} | seed

    @property
    def byte_count(self) -> int:
        """About how many bytes the session's images hold in memory.

        Each counts once; unused uploads count too. Threads of other visits call this, so it iterates over a copy.
        """
        opened = [picture for picture in [*self._opened.values()] if isinstance(picture, InputImage)]
        found = [*opened, *self.chosen, *self.inputs, *self.references, *self.kept_references]
        found += [task.source for task in self._tasks()]
        found += [picture.original for picture in found if picture.original is not None]
        pictures = {id(picture): _size(picture) for picture in found}
        shown = [self.shown] if self.shown else []
        results = {id(result): result.byte_count for result in (*self.history, *self.variants, *shown)}
        masks = {id(mask): len(mask) for mask in (self.mask, self.kept_mask) if mask}
        return sum(pictures.values()) + sum(results.values()) + sum(masks.values())

    def has_room_for(self, sources: Iterable[InputImage], limit: int) -> bool:
        """Whether another batch may join the line and the ended batches.

        All of these keep their images, of at most `limit` bytes together.
        """
        if len(self._batches()) >= MOST_BATCHES:
            return False
        held = {id(task.source): len(task.source.data) for task in self._tasks()}
        held |= {id(source): len(source.data) for source in sources}
        return sum(held.values()) <= limit

    def _tasks(self) -> list[Task]:
        """Those of the line and of all batches."""
        of_line = [task for job in self.line.jobs for task in job.run.tasks]
        return of_line + [task for batch in self._batches() for task in batch.tasks]

    def _batches(self) -> list[Batch]:
        """Those in line and those that have ended, each once."""
        found = [*self.batches, *(job.batch for job in self.line.jobs if job.batch is not None)]
        return [*{id(batch): batch for batch in found}.values()]

    def begin(self, job: Job, client: SyncEditClient, timeout: float) -> None:
        """Start an edit, or let it wait for those before it. `timeout`: seconds per edit."""
        if not self.line.jobs:
            self.failed = self.not_kept = None
            self.failures.clear()
        self.is_looking, self.shown_batch = False, None
        self.line.add(job, client, timeout)

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
        self.shown, self.is_looking = result, True
        self.failed = self.shown_batch = None

    def look_at_batch(self, batch: Batch) -> None:
        """Show the results of a batch."""
        self.shown_batch, self.is_looking = batch, True
        self.failed = None

    def drop_batch(self, batch: Batch) -> None:
        """Forget a batch with its results."""
        self.batches = [kept for kept in self.batches if kept is not batch]
        if self.shown_batch is batch:
            self.shown_batch, self.is_looking = None, False

    def drop(self, result: Result) -> None:
        """Forget a result that was deleted."""
        is_other = [kept.id != result.id for kept in self.history]
        self.history = [kept for kept, stays in zip(self.history, is_other, strict=True) if stays]
        self.shown, self.variants = None, []

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


def _size(opened: InputImage | ImgeditError) -> int:
    return len(opened.data) + len(opened.view) if isinstance(opened, InputImage) else 0


def _close(line: Line) -> None:
    """Cancel on a separate thread: dropping a session must not wait for the server."""
    if line.jobs:
        threading.Thread(target=line.close, name="studio-cancel", daemon=True).start()


def _open(upload: UploadedFile, visit: object) -> InputImage | ImgeditError:
    try:
        return input_images.open_image(upload.name, upload.getvalue(), visit)
    except ImgeditError as error:
        return error
