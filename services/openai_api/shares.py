"""Limits on concurrent work, in total and per caller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from imgedit.errors import TooManyEdits

RETRY_SECONDS = 1.0
"""When a rejected request may be retried."""


class Shares:
    """Counts concurrent work in total and per caller.

    Not thread-safe: one event loop owns it. `on_change` gets the new total.
    """

    def __init__(self, what: str, most: int, per_caller: int, on_change: Callable[[int], None] | None = None) -> None:
        """`what` describes the work in error messages: "requests are in flight"."""
        self._what = what
        self._most = most
        self._per_caller = per_caller
        self._on_change = on_change
        self._taken: Counter[Hashable] = Counter()

    @contextmanager
    def taken(self, caller: Hashable, count: int = 1) -> Iterator[None]:
        """Hold `count` places. Raises `TooManyEdits` if there are fewer."""
        self._refuse_surplus(caller, count)
        self._add(caller, count)
        try:
            yield
        finally:
            self._add(caller, -count)

    def _refuse_surplus(self, caller: Hashable, count: int) -> None:
        for has, most, of in (
            (self._taken[caller], self._per_caller, "of this caller "),
            (self._taken.total(), self._most, ""),
        ):
            if has + count > most:
                raise TooManyEdits(
                    f"{has} {self._what} here {of}already, at most {most} may be at once and this one takes {count}; "
                    "try again later",
                    retry_after_seconds=RETRY_SECONDS,
                )

    def _add(self, caller: Hashable, count: int) -> None:
        self._taken[caller] += count
        if not self._taken[caller]:
            del self._taken[caller]
        if self._on_change is not None:
            self._on_change(self._taken.total())
