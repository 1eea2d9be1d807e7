"""How calls may end, and which ends are faults of the server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

CLEAR = frozenset({"QUEUE_FULL", "TOO_MANY_EDITS", "SERVICE_UNAVAILABLE", "DEADLINE_PASSED", "WOULD_MISS_DEADLINE"})
"""Reasons with which an accepted edit may end under this load."""


@dataclass(frozen=True)
class Ended:
    """One call.

    kind: what was sent, and through which door. end: "result", "left" (the caller closed its socket), "hung", "lost"
    (no result and no error), "not stopped" (the edit of a caller that left runs on), or the reason of the error.
    expected: the reasons that are right for what was sent; empty = a result or one of `CLEAR`. detail: for people.
    """

    kind: str
    end: str
    seconds: float
    expected: frozenset[str] = frozenset()
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        """Whether the server has broken a promise."""
        return self.end not in (self.expected or CLEAR | {"result"})


def table(ended: Sequence[Ended]) -> list[dict[str, Any]]:
    """Counts by kind and end, most frequent first within a kind."""
    counts = Counter((one.kind, one.end, one.is_fault) for one in ended)
    rows = sorted(counts.items(), key=lambda row: (row[0][0], -row[1]))
    return [{"kind": kind, "end": end, "count": count, "fault": fault} for (kind, end, fault), count in rows]
