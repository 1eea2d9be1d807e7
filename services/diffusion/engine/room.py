"""The memory that running jobs hold between steps, and the jobs that fit beside."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from services.diffusion.engine.adapter import Part
from services.diffusion.engine.job import Job


@dataclass(frozen=True)
class Room:
    """Limits on what running jobs hold together.

    kept_bytes: of keys for region steps. part_bytes: of parts.
    A job that runs alone may exceed them.
    """

    kept_bytes: int
    part_bytes: int

    def with_room(self, ranked: Iterable[Job[Any, Any]], running: Iterable[Job[Any, Any]]) -> list[Job[Any, Any]]:
        """The jobs in order, without new ones that do not fit in memory yet.

        They begin in their order, so that small ones do not take the room for which a large one waits.
        """
        held = [job.workload for job in running]
        kept = sum(workload.kept_bytes for workload in held)
        parts = frozenset[Part]().union(*(workload.parts for workload in held))
        chosen = []
        for job in ranked:
            if job.state is None:
                own, others = job.workload, parts
                kept += own.kept_bytes
                parts |= own.parts
                lacks_kept = bool(own.kept_bytes) and self.kept_bytes < kept != own.kept_bytes
                if lacks_kept or (own.parts and others and _nbytes(parts) > self.part_bytes):
                    continue
            chosen.append(job)
        return chosen


def _nbytes(parts: Iterable[Part]) -> int:
    return sum(part.nbytes for part in parts)
