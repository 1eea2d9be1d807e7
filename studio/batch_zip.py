"""The results of a batch in one ZIP file on disk, written as they arrive."""

from __future__ import annotations

import tempfile
import threading
import weakref
import zipfile
from collections import Counter
from typing import IO

from studio.runs import Task


class BatchZip:
    """A ZIP in an unnamed temporary file, deleted with this object."""

    def __init__(self) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="imgedit-batch-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_STORED)  # images do not compress
        self._lock = threading.Lock()
        self._names: Counter[str] = Counter()
        self._is_closed = False

    def add(self, task: Task) -> None:
        """Write the result of a task and release its images.

        Duplicate names get a number.
        """
        if task.result is None:
            return
        stem, _, ending = task.result.file_name.rpartition(".")
        with self._lock:
            self._names[stem] += 1
            number = f"-{self._names[stem]}" if self._names[stem] > 1 else ""
            self._zip.writestr(f"{stem}{number}.{ending}", task.result.answer.output_image)
        task.result = task.result.without_pictures()

    def read(self) -> bytes:
        """The whole file; no more results can be added."""
        with self._lock:
            if not self._is_closed:
                self._zip.close()
                self._is_closed = True
            self._file.seek(0)
            return self._file.read()
