"""Edit a folder of images with the same options, in parallel and resumable.

Finished images are recorded in a file beside the results. A failed image does not stop the others.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

from imgedit import output_files
from imgedit.client import EditClient
from imgedit.errors import (
    ImgeditError,
    NotFound,
    QueueFull,
    ScopeMissing,
    ServiceUnavailable,
    Unauthenticated,
)
from imgedit.imaging import containers
from imgedit.json_text import json_line
from imgedit.request import EditOptions, edit_request
from imgedit.result import EditResult

STATE_NAME = "imgedit-batch.jsonl"
ENDINGS = (".png", ".jpg", ".jpeg", ".webp")
"""Taken unseen. Other files are looked into: Windows and browsers save JPEG files as .jfif, and some have no ending."""

MAX_LOST = 3
"""Pictures in a row for which no server answered, before the rest is left for another run."""

CONCERNS_ALL = (NotFound, Unauthenticated, ScopeMissing)
"""A fault of the options, not of one image."""


@dataclass(frozen=True)
class Job:
    """One image: its file, its name within the folder, the file of its first result.

    own: options of this image only. n: how many results it gets.
    """

    source: Path
    name: str
    output: Path
    own: Mapping[str, Any] = field(default_factory=dict)
    n: int = 1

    @property
    def outputs(self) -> list[Path]:
        """The files of its results."""
        return output_files.numbered(self.output, self.n)


@dataclass(frozen=True)
class Outcome:
    """The result of one job.

    error: the cause of a failure; an OSError for a file that could not be read or written.
    """

    job: Job
    status: Literal["done", "skipped", "failed"]
    error: Exception | None = None


def jobs(folder: Path, out: Path, *, recursive: bool, ending: str, n: int = 1) -> list[Job]:
    """The PNG, JPEG and WebP files of a folder by content.

    Hidden files and those below `out` are skipped. A result has the image's name with `ending`; images that differ only
    in their extension keep it: `a.jpg.png` and `a.webp.png`.
    """
    found = [path for path in _files(folder, out, recursive=recursive) if _is_picture(path)]
    stems = Counter(path.with_suffix("") for path in found)
    return [Job(path, _name(path, folder), out / _result(path, folder, stems, ending), n=n) for path in found]


def shared_output(found: Iterable[Job]) -> tuple[Job, Job, Path] | None:
    """Two images with a result of the same name.

    Such as the second of a.png and the first of a-2.png.
    """
    owners: dict[Path, Job] = {}
    for job in found:
        for output in job.outputs:
            if output in owners:
                return owners[output], job, output
            owners[output] = job
    return None


def left_out(folder: Path, out: Path, *, recursive: bool) -> list[str]:
    """The files that `jobs` skips, without hidden ones and those below `out`."""
    return [_name(path, folder) for path in _files(folder, out, recursive=recursive) if not _is_picture(path)]


def _files(folder: Path, out: Path, *, recursive: bool) -> list[Path]:
    found = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path for path in found if not path.name.startswith(".") and out not in path.parents and path.is_file()
    )


def _is_picture(path: Path) -> bool:
    if path.suffix.lower() in ENDINGS:
        return True
    try:
        with path.open("rb") as file:
            return containers.is_picture(file.read(16))
    except OSError:
        return False


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _result(path: Path, folder: Path, stems: Counter[Path], ending: str) -> Path:
    base = path if stems[path.with_suffix("")] > 1 else path.with_suffix("")
    return base.relative_to(folder).with_name(base.name + ending)


class State:
    """The record of finished images.

    One JSON object per line, with a digest of the inputs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._done: dict[str, _Done] = dict(_read_state(path))
        self._is_cut_off = path.is_file() and not path.read_bytes().endswith(b"\n")

    def has(self, job: Job, digest: str) -> bool:
        """Whether the results of this exact request exist."""
        done = self._done.get(job.name)
        return done is not None and done.digest == digest and all(output.is_file() for output in job.outputs)

    def made(self, job: Job) -> list[Path]:
        """Those of its files that an earlier run wrote, from whatever request."""
        done = self._done.get(job.name)
        return job.outputs[: done.results] if done else []

    def add(self, job: Job, digest: str, *, seed: int, seconds: float) -> None:
        """Note that a job is done. May be called from any thread."""
        line = {"name": job.name, "digest": digest, "output": str(job.output), "seed": seed, "seconds": seconds}
        if job.n > 1:
            line["results"] = job.n
        with self._lock:
            self._done[job.name] = _Done(digest, job.n)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(("\n" if self._is_cut_off else "") + json_line(line) + "\n")
            self._is_cut_off = False


@dataclass(frozen=True)
class _Done:
    """The request of a finished image, and how many results it made."""

    digest: str
    results: int


def _read_state(path: Path) -> Iterator[tuple[str, _Done]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else ():
        try:
            entry = json.loads(line)
            yield str(entry["name"]), _Done(str(entry["digest"]), int(entry.get("results", 1)))
        except (ValueError, KeyError, TypeError):
            continue  # a truncated line: its image is edited again


def digest_of(image: bytes, options: EditOptions) -> str:
    """A digest of the image and of the whole request."""
    request = edit_request(image, **options)
    request.ClearField("request_id")
    return hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()


@dataclass
class Batch:
    """Runs jobs with one client.

    timeout: seconds per image, including the wait for a free slot.
    """

    client: EditClient
    options: EditOptions
    state: State
    timeout: float
    on_outcome: Callable[[Outcome], None]
    stopped_by: ImgeditError | None = None
    _lost: int = field(default=0, init=False)

    async def edit_all(self, found: list[Job], parallel: int) -> None:
        """Edit them, `parallel` at a time.

        Cancelling it cancels the running edits.
        """
        waiting = iter(found)
        async with asyncio.TaskGroup() as group:
            for _ in range(parallel):
                group.create_task(self._work(waiting))

    async def _work(self, waiting: Iterator[Job]) -> None:
        for job in waiting:
            outcome = await self._outcome(job)
            self._note(outcome)
            self.on_outcome(outcome)
            if self.stopped_by is not None:
                return

    def _note(self, outcome: Outcome) -> None:
        """Stop if every further image would fail in the same way."""
        error = outcome.error
        is_lost = isinstance(error, ServiceUnavailable) and error.stage is None
        self._lost = self._lost + 1 if is_lost else 0
        if isinstance(error, ImgeditError) and (isinstance(error, CONCERNS_ALL) or self._lost >= MAX_LOST):
            self.stopped_by = error

    async def _outcome(self, job: Job) -> Outcome:
        try:
            image = await asyncio.to_thread(job.source.read_bytes)
            options = cast("EditOptions", {**self.options, **job.own})
            digest = await asyncio.to_thread(digest_of, image, options)
            if self.state.has(job, digest):
                return Outcome(job, "skipped")
            for output in job.outputs:
                await asyncio.to_thread(output_files.check_output, output)
            result = await self._edit(image, options)
            await asyncio.to_thread(self._keep, job, digest, result)
        except Exception as error:  # noqa: BLE001  # whatever it is, the other pictures continue
            return Outcome(job, "failed", error)
        return Outcome(job, "done")

    def _keep(self, job: Job, digest: str, result: EditResult) -> None:
        """Write and record the results.

        In one call, so that Ctrl-C leaves no unrecorded file.
        """
        for output, single in zip(job.outputs, result.results, strict=True):
            output_files.write_or_keep(output, single.output_image)
        self.state.add(job, digest, seed=result.seed, seconds=round(result.elapsed_time, 3))

    async def _edit(self, image: bytes, options: EditOptions) -> EditResult:
        """One edit, retried while a model service's queue is full.

        The client itself retries after TooManyEdits.
        """
        ends_at = time.monotonic() + self.timeout
        while True:
            try:
                return await self.client.edit(image, timeout=max(0.1, ends_at - time.monotonic()), **options)
            except QueueFull as error:
                wait = max(1.0, error.retry_after_seconds or 0)
                if time.monotonic() + wait >= ends_at:
                    raise
            await asyncio.sleep(wait)
