"""A batch: its edits in upload order, and their results on disk.

Does not import Streamlit.
"""

from __future__ import annotations

import io
import logging
import tempfile
import threading
import weakref
import zipfile
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import IO

from studio.runs import Task

_LOG = logging.getLogger(__name__)


class Batch:
    """The edits of one batch.

    The results are appended to an unnamed file of the temporary folder, which disappears with this object.
    """

    def __init__(self, tasks: Iterable[Task], name: str, number: int = 1) -> None:
        """name: of the ZIP file. number: in the session."""
        self.tasks = list(tasks)
        self.name = name
        self.number = number
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="imgedit-batch-")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._places: dict[str, tuple[int, int]] = {}  # offset and length by request id
        self._lock = threading.Lock()

    def keep(self, task: Task) -> None:
        """Write the result of a task to disk; the task then drops its images.

        If the disk fails, the task keeps them.
        """
        if task.result is None:
            return
        data = task.result.answer.output_image
        try:
            with self._lock:
                offset = self._file.seek(0, io.SEEK_END)
                self._file.write(data)
                self._file.flush()
                self._places[task.request_id] = offset, len(data)
        except OSError as error:
            _LOG.warning("a result of a batch stays in memory: %s", error)
            return
        task.result = task.result.without_pictures()

    def picture(self, task: Task) -> bytes:
        """The file of a task's result. Raises `KeyError` for a task without one."""
        if task.result is not None and task.request_id not in self._places:
            return task.result.answer.output_image
        with self._lock:
            offset, length = self._places[task.request_id]
            self._file.seek(offset)
            return self._file.read(length)

    def zipped(self) -> bytes:
        """All results in the order of the upload; a repeated name gets a number."""
        buffer, names = io.BytesIO(), Counter[str]()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as zipped:  # images do not shrink
            for task in self.tasks:
                if task.result is None:
                    continue
                stem, _, ending = task.result.file_name.rpartition(".")
                names[stem] += 1
                number = f"-{names[stem]}" if names[stem] > 1 else ""
                zipped.writestr(f"{stem}{number}.{ending}", self.picture(task))
        return buffer.getvalue()

    @property
    def unfinished(self) -> list[Task]:
        """The tasks that failed or were cancelled."""
        return [task for task in self.tasks if task.state in ("failed", "cancelled")]

    def again(self, tasks: Iterable[Task]) -> list[Task]:
        """New tasks in the places of these, with the same image and options."""
        renewed = {task.request_id: Task(task.source, task.options, values=task.values) for task in tasks}
        self.tasks = [renewed.get(task.request_id, task) for task in self.tasks]
        return list(renewed.values())


def zip_name(feature: str, now: datetime, number: int = 1) -> str:
    """The name of the ZIP file of a batch that starts now, the session's `number`th."""
    return f"imgedit-{feature}-{now:%Y%m%d-%H%M}{f'-{number}' if number > 1 else ''}.zip"
