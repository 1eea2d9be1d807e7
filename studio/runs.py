"""Running edits: a thread reads one call's events into notes for the page.

One `Run` is one press of a button: one edit with one or more results, or a batch.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from imgedit.errors import EditCancelled, ImgeditError, InternalError, from_status
from imgedit.progress import Progress
from imgedit.request import EditOptions, edit_request
from imgedit.sync_client import SyncEditClient
from imgedit.v1 import edit_pb2
from studio import input_images
from studio.input_images import InputImage

Values = dict[str, str | int | float | bool | list[str]]
"""The form's values by widget key."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True)
class Result:
    """A finished edit.

    The views are WebP files for display; `before` is placed like the original in the result. values: the form's values
    for it. index: its place among the results of its request, from 0.
    """

    number: int
    source: InputImage
    options: EditOptions
    answer: edit_pb2.EditResponse
    before: bytes
    after: bytes
    thumb: bytes
    cutout: bytes | None
    mask: bytes | None
    values: Values = field(default_factory=dict)
    index: int = 0

    @property
    def id(self) -> str:
        """An id of this result alone; those of one request share its request id."""
        return result_id(self.answer.request_id, self.index)

    @cached_property
    def byte_count(self) -> int:
        """About how many bytes it holds in memory.

        Cached: protobuf serializes the whole response to get its size.
        """
        return self.answer.ByteSize() + len(self.source.data) + len(self.before) + len(self.after)

    def without_pictures(self) -> Result:
        """The remainder after the images moved elsewhere; the file name stays."""
        answer = edit_pb2.EditResponse()
        answer.CopyFrom(self.answer)
        answer.output_image = answer.output_image[:4]
        answer.ClearField("background_removed_image")
        answer.ClearField("mask_image")
        return replace(self, answer=answer, before=b"", after=b"", cutout=None, mask=None)

    @property
    def file_name(self) -> str:
        """A name for the downloaded file."""
        return f"{self.stem}-{self.answer.effective.feature_id}{self.mark}.{_ending(self.answer.output_image)}"

    @property
    def is_painted(self) -> bool:
        """Whether a model painted. A mere cut-out has no prompt, steps or seed."""
        return self.answer.effective.steps > 0

    @property
    def mark(self) -> str:
        """The seed in the names of its files, if it has one."""
        return f"-{self.answer.seed}" if self.is_painted else ""

    @property
    def stem(self) -> str:
        """The prefix of its file names."""
        return self.source.name.rpartition(".")[0] or self.source.name


@dataclass
class Task:
    """One result of a run, with its number in the session.

    Written by the run's thread, read by the page. The results of one request share its request_id and are counted by
    index. not_kept: why the gallery does not hold the result, if it failed to.
    """

    source: InputImage
    options: EditOptions
    number: int = 0
    values: Values = field(default_factory=dict)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    index: int = 0
    progress: Progress = field(default_factory=Progress)
    preview: bytes | None = None
    result: Result | None = None
    error: ImgeditError | None = None
    not_kept: str | None = None
    started: float | None = None
    ended: float | None = None

    @property
    def id(self) -> str:
        """An id of this result alone."""
        return result_id(self.request_id, self.index)

    @property
    def state(self) -> State:
        """Its state in one word."""
        if self.result is not None:
            return "done"
        if self.error is not None:
            return "cancelled" if isinstance(self.error, EditCancelled) else "failed"
        return "running" if self.progress.count else "waiting"

    def request(self) -> edit_pb2.EditRequest:
        """The message, built on sending, because it copies the image."""
        options = self.options.copy()
        options["request_id"] = self.request_id
        return edit_request(self.source.data, **options)

    @property
    def share(self) -> float:
        """The finished fraction, 0 to 1: finished stages, and a part of the current one."""
        if self.ended is not None:
            return 1.0
        now = self.progress
        if not now.count:
            return 0.0
        part = now.step / now.steps if now.steps else 0.0
        return min(1.0, (now.index - 1 + part) / now.count)

    @property
    def seconds(self) -> float:
        """Seconds since its start, or its duration."""
        return 0.0 if self.started is None else (self.ended or time.monotonic()) - self.started


def tasks_of(source: InputImage, options: EditOptions) -> list[Task]:
    """The tasks of one request: one per result."""
    first = Task(source, options)
    return [
        first,
        *(Task(source, options, request_id=first.request_id, index=n) for n in range(1, options.get("n") or 1)),
    ]


def result_id(request_id: str, index: int) -> str:
    """The id of a result; the first has that of its request."""
    return f"{request_id}-{index}" if index else request_id


def _nothing() -> None:
    """Do nothing at the end of a run."""


class Run:
    """A group of edits from one button press."""

    def __init__(self, tasks: Iterable[Task], keepers: Sequence[Callable[[Task], None]] = ()) -> None:
        """Create the run.

        `keepers` are called in order, on the run's thread, with each task that has a result.
        """
        self.tasks = list(tasks)
        self.is_cancelled = False
        self.started = time.monotonic()
        self._keepers = keepers
        self._requests: dict[str, list[Task]] = {}
        for task in self.tasks:
            self._requests.setdefault(task.request_id, []).append(task)
        self._client: SyncEditClient | None = None
        self._thread: threading.Thread | None = None

    @property
    def is_over(self) -> bool:
        """Whether every edit has ended and the thread is done."""
        return self._thread is not None and not self._thread.is_alive()

    def start(self, client: SyncEditClient, timeout: float, on_end: Callable[[], None] = _nothing) -> None:
        """Start without waiting.

        `timeout`: seconds per edit. `on_end` is called on the run's thread after its last edit.
        """
        self._client = client
        self._thread = threading.Thread(
            target=self._work_to_the_end, args=(client, timeout, on_end), name="studio-run", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Cancel running and pending edits.

        Returns after the server was notified, or could not be.
        """
        self.is_cancelled = True
        for request_id, tasks in self._requests.items():
            if any(task.started is not None and task.ended is None for task in tasks) and self._client is not None:
                try:
                    self._client.cancel(request_id, timeout=5)
                except ImgeditError:
                    continue  # it has ended by then, or the server is gone: its own stream reports it

    def _work_to_the_end(self, client: SyncEditClient, timeout: float, on_end: Callable[[], None]) -> None:
        try:
            self._work(client, timeout)
        finally:
            on_end()

    def _work(self, client: SyncEditClient, timeout: float) -> None:
        end: ImgeditError = InternalError("the stream ended without a result")
        try:
            for event in self._events(client, timeout):
                self._take(self._requests[event.request_id], event)
        except ImgeditError as error:
            end = error
        finally:  # also if this thread fails: no edit may seem to run forever
            for task in self.tasks:
                if task.ended is None:
                    self._end(task, error=EditCancelled("cancelled") if self.is_cancelled else end)

    def _events(self, client: SyncEditClient, timeout: float) -> Iterator[edit_pb2.EditEvent]:
        requests = self._sent()
        if len(self._requests) > 1:
            return client.edit_batch(requests, timeout=timeout * len(self.tasks))
        request = next(requests, None)  # None: cancelled before it was sent
        return iter(()) if request is None else client.edit_stream(request, timeout=timeout * len(self.tasks))

    def _sent(self) -> Iterator[edit_pb2.EditRequest]:
        """Each request as it is sent."""
        for tasks in self._requests.values():
            if self.is_cancelled:
                return
            for task in tasks:
                task.started = time.monotonic()
            yield tasks[0].request()

    def _take(self, results: Sequence[Task], event: edit_pb2.EditEvent) -> None:
        """Note an event of a request, which has these results."""
        task = results[event.index]
        before = task.progress if task.progress.count else results[0].progress  # the work that they share
        task.progress = before.after(event)
        match event.WhichOneof("event"):
            case "preview":
                task.preview = event.preview.image
            case "result":
                self._end(task, result=result_of(task, event.result))
            case "error":
                for unfinished in (one for one in results if one.ended is None):
                    self._end(unfinished, error=from_status(event.error))

    def _end(self, task: Task, *, result: Result | None = None, error: ImgeditError | None = None) -> None:
        task.ended = time.monotonic()
        task.error = error
        task.result = result
        for keep in self._keepers if result is not None else ():
            keep(task)


def result_of(task: Task, answer: edit_pb2.EditResponse) -> Result:
    """The result of a task, with the views of the page."""
    after = input_images.to_view(answer.output_image)
    before = task.source.view
    if answer.effective.HasField("outpaint"):
        added = answer.effective.outpaint
        before = input_images.in_frame(before, task.source.size, (added.left, added.right, added.top, added.bottom))
    return Result(
        number=task.number,
        source=task.source,
        options=task.options,
        answer=answer,
        before=before,
        after=after,
        thumb=input_images.thumb(after),
        cutout=input_images.to_view(answer.background_removed_image) if answer.background_removed_image else None,
        mask=input_images.to_view(answer.mask_image) if answer.mask_image else None,
        values=task.values,
        index=task.index,
    )


def _ending(data: bytes) -> str:
    return {b"\x89PNG": "png", b"RIFF": "webp"}.get(data[:4], "jpg")
