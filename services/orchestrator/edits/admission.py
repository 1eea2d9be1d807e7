"""Limits on concurrent edits and their bytes, in total and per caller.

Requests over a limit are rejected before decoding.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imgedit.errors import TooManyEdits
from services.orchestrator import metrics

_FIRST_GUESS_SECONDS = 10.0
_NEWEST_SHARE = 0.2


@dataclass(frozen=True)
class Limit:
    """The limits on edits and bytes, in total or per caller."""

    edits: int
    nbytes: int


@dataclass
class _Load:
    edits: int = 0
    nbytes: int = 0

    def add(self, edits: int, nbytes: int) -> None:
        self.edits += edits
        self.nbytes += nbytes

    def exceeds(self, limit: Limit, edits: int, nbytes: int) -> str:
        """The exceeded limit: "edits", "bytes" or "".

        A single request is always admitted.
        """
        if edits and self.edits and self.edits + edits > limit.edits:
            return "edits"
        return "bytes" if self.edits and self.nbytes + nbytes > limit.nbytes else ""


class Admission:
    """Counts the current edits.

    Belongs to one event loop.
    """

    def __init__(self, total: Limit, per_caller: Limit) -> None:
        self._total_limit = total
        self._caller_limit = per_caller
        self._total = _Load()
        self._callers: defaultdict[str, _Load] = defaultdict(_Load)
        self._mean_seconds = _FIRST_GUESS_SECONDS

    @contextmanager
    def edit(self, caller: str, nbytes: int, results: int = 1) -> Iterator[None]:
        """Admit an edit of about this many bytes while it runs.

        Each result counts as an edit. Raises `TooManyEdits`.
        """
        started = time.monotonic()
        with self._taken(caller, results, nbytes):
            yield
            self._mean_seconds += _NEWEST_SHARE * (time.monotonic() - started - self._mean_seconds)

    @contextmanager
    def request(self, caller: str, nbytes: int) -> Iterator[None]:
        """Count a request that is held while its caller waits.

        Raises `TooManyEdits`.
        """
        with self._taken(caller, 0, nbytes):
            yield

    @contextmanager
    def response(self, caller: str, nbytes: int) -> Iterator[None]:
        """Count a response until its caller has read it.

        It keeps the edit's place and is never rejected.
        """
        with self._held(caller, 1, nbytes):
            yield

    @contextmanager
    def copy_of_answer(self, caller: str, nbytes: int, *, held: int = 0) -> Iterator[None]:
        """Count a further copy of a response until its caller has read it.

        For joined edits and cached responses. It counts bytes, not an edit: otherwise copies of one response could
        take all places. `held` are the bytes already counted for this call; a call alone gets any response. Raises
        `TooManyEdits`.
        """
        for whose, load, limit in self._loads(caller):
            if load.nbytes > held and load.nbytes + nbytes > limit.nbytes:
                raise self._refusal(whose, "bytes", limit)
        with self._held(caller, 0, nbytes):
            yield

    @contextmanager
    def estimate(self, caller: str, nbytes: int, *, held: int) -> Iterator[None]:
        """Count the pictures of an estimate.

        They take bytes and no place among the edits. `held` are the bytes already counted for this call. Raises
        `TooManyEdits`.
        """
        with self.copy_of_answer(caller, nbytes, held=held):
            yield

    @contextmanager
    def _taken(self, caller: str, edits: int, nbytes: int) -> Iterator[None]:
        self._refuse_surplus(caller, edits, nbytes)
        with self._held(caller, edits, nbytes):
            yield

    @contextmanager
    def _held(self, caller: str, edits: int, nbytes: int) -> Iterator[None]:
        """Count without a limit."""
        self._add(caller, edits, nbytes)
        try:
            yield
        finally:
            self._add(caller, -edits, -nbytes)

    def _refuse_surplus(self, caller: str, edits: int, nbytes: int) -> None:
        for whose, load, limit in self._loads(caller):
            what = load.exceeds(limit, edits, nbytes)
            if what:
                raise self._refusal(whose, what, limit)

    def _loads(self, caller: str) -> tuple[tuple[str, _Load, Limit], ...]:
        """The caller's load and the total, each with its limit."""
        return (
            ("caller", self._callers.get(caller, _Load()), self._caller_limit),
            ("all", self._total, self._total_limit),
        )

    def _refusal(self, whose: str, what: str, limit: Limit) -> TooManyEdits:
        metrics.EDITS_REFUSED.labels(whose, what).inc()
        return TooManyEdits(_words(whose, what, limit), retry_after_seconds=self._seconds_until_one_ends())

    def _seconds_until_one_ends(self) -> float:
        return max(1.0, self._mean_seconds / max(1, self._total.edits))

    def _add(self, caller: str, edits: int, nbytes: int) -> None:
        self._total.add(edits, nbytes)
        self._callers[caller].add(edits, nbytes)
        if self._callers[caller] == _Load():
            del self._callers[caller]
        metrics.EDITS_IN_FLIGHT.set(self._total.edits)
        metrics.EDIT_BYTES.set(self._total.nbytes)


def _words(whose: str, what: str, limit: Limit) -> str:
    of = "of this caller" if whose == "caller" else "in all"
    if what == "edits":
        return f"{limit.edits} edits {of} run already, which is the most at once; retry later"
    return f"the edits {of} need {limit.nbytes / 2**20:.0f} MiB already, which is the most at once; retry later"
