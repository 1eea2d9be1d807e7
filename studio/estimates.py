"""How long edits would take, asked before their button is pressed.

Does not import Streamlit. The server estimates from the sizes of the images alone, so a blank one of the same size
stands for each. Answers are kept for some seconds by the request without the fields that cost nothing.
"""

from __future__ import annotations

import functools
import io
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, cast

from PIL import Image

from imgedit.errors import ImgeditError
from imgedit.request import EditOptions, edit_request
from imgedit.result import EditEstimate
from imgedit.sync_client import SyncEditClient
from studio.text import Words

KEPT_SECONDS = 10.0
"""How long an answer counts as current: the queue changes."""

TIMEOUT_SECONDS = 3.0
MOST = 256
"""Answers kept or awaited; beyond them nothing is asked."""

FREE = ("seed", "output", "preview_every")
"""Options that do not change the time."""

PROMPTS = {"ko": "배경을 공원으로 변경", "en": "a park"}
"""Stand for a prompt that is not written yet, by the page's language: a Korean one may be translated first."""

_Size = tuple[int, int]


class Estimates:
    """Asks on its own threads; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(2, "studio-estimate")
        self._kept: dict[bytes, tuple[float, Future[EditEstimate | None]]] = {}

    def ask(
        self, client: SyncEditClient, size: _Size, references: list[_Size], options: EditOptions
    ) -> Future[EditEstimate | None]:
        """The estimate of an edit of an image of this size, which may be known already.

        Its result is None if the server cannot say, or refuses the edit.
        """
        options = without_pictures(references, options)
        request = edit_request(blank(size), **options)
        request.ClearField("request_id")  # drawn for each
        key = request.SerializeToString(deterministic=True)
        with self._lock:
            self._forget_old()
            if key in self._kept:
                return self._kept[key][1]
            if len(self._kept) >= MOST:
                return _unknown()
            found = self._threads.submit(_estimate, client, size, options)
            self._kept[key] = self._clock(), found
        return found

    def _forget_old(self) -> None:
        """The order is that of the questions."""
        oldest = self._clock() - KEPT_SECONDS
        for key, (asked, found) in list(self._kept.items()):
            if asked >= oldest:
                return
            if found.done():
                del self._kept[key]


def _estimate(client: SyncEditClient, size: _Size, options: EditOptions) -> EditEstimate | None:
    try:
        return client.estimate(blank(size), timeout=TIMEOUT_SECONDS, **options)
    except ImgeditError:
        return None  # the edit itself will tell


def _unknown() -> Future[EditEstimate | None]:
    found: Future[EditEstimate | None] = Future()
    found.set_result(None)
    return found


def without_pictures(references: list[_Size], options: EditOptions) -> EditOptions:
    """The options that decide the time, with blank references.

    The mask stays: where it lies decides.
    """
    kept: dict[str, Any] = {name: value for name, value in options.items() if name not in FREE}
    if references:
        kept["references"] = [blank(size) for size in references]
    return cast("EditOptions", kept)


@functools.lru_cache(maxsize=32)
def blank(size: _Size) -> bytes:
    """A PNG file of some kilobytes."""
    buffer = io.BytesIO()
    Image.new("1", size).save(buffer, "PNG")
    return buffer.getvalue()


def estimate_text(words: Words, found: EditEstimate | None, count: int = 1) -> str:
    """The time and the jobs ahead; "" if nothing is known.

    `count` equal edits wait in line once.
    """
    if found is None:
        return ""
    facts = []
    if found.seconds is not None:
        wait = found.queue_seconds or 0.0
        facts.append(words("expected", time=words.about(wait + count * (found.seconds - wait))))
    if found.queue_position:
        facts.append(words("expected.ahead", count=found.queue_position))
    return " · ".join(facts)
