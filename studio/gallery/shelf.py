"""The gallery of one owner: a login, or without one a browser.

Does not import Streamlit.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass

from studio.gallery import saved
from studio.gallery.store import Entry, Gallery, GalleryError
from studio.runs import Result, Task

_LOG = logging.getLogger(__name__)

_BROWSER = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Shelf:
    """The gallery of one owner."""

    gallery: Gallery
    owner: str

    def keep(self, task: Task) -> None:
        """Add the result of a task; a failure is noted in the task."""
        if task.result is None:
            return
        try:
            self.gallery.add(self.owner, saved.draft(task.result))
        except GalleryError as error:
            task.not_kept = error.reason
            _LOG.warning("the gallery did not keep %s: %s", task.request_id, error)

    def entries(self, *, count: int, starred: bool) -> tuple[list[Entry], int]:
        """The newest entries, and how many there are. Raises `GalleryError`."""
        return self.gallery.entries(self.owner, count=count, starred=starred)

    def find(self, result: Result) -> Entry | None:
        """The entry of a result, if it is kept. Raises `GalleryError`."""
        return self.gallery.find(self.owner, result.id)

    def take(self, id: str, *, number: int, visit: object) -> Result | None:
        """An entry as a result of this visit; None if it is gone.

        Raises like `saved.restored`.
        """
        entry = self.gallery.entry(self.owner, id)
        if entry is None:
            return None
        return saved.restored(entry, self.gallery.files(entry), number=number, visit=visit)

    def star(self, entry: Entry, *, is_starred: bool) -> None:
        """Give or take the star. Raises `GalleryError`."""
        self.gallery.star(self.owner, entry.id, is_starred=is_starred)

    def delete(self, entry: Entry) -> None:
        """Remove an entry. Raises `GalleryError`."""
        self.gallery.delete(self.owner, entry.id)

    def clear(self) -> None:
        """Remove all entries. Raises `GalleryError`."""
        self.gallery.clear(self.owner)


def shelf_of(gallery: Gallery | None, *, user: str, browser: str) -> Shelf | None:
    """The shelf of a user, or without a login of a browser.

    None if there is no gallery or no owner. Only a hash of the owner is written: a browser's id would open its shelf.
    """
    if gallery is None or not (user or _BROWSER.fullmatch(browser)):
        return None
    whose = f"user {user}" if user else f"browser {browser}"
    return Shelf(gallery, hashlib.sha256(whose.encode()).hexdigest())
