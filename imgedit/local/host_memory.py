"""Main memory of this machine, or the control group's (a container's) if smaller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
GROUPS = Path("/sys/fs/cgroup")

LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""A control group's files: its limit, what it holds, and of what kinds; of version 2 and of version 1."""


@dataclass(frozen=True)
class HostMemory:
    """Memory in bytes.

    available: free memory, including reclaimable file caches.
    """

    total: int
    available: int


def host_memory(proc: Path = PROC, groups: Path = GROUPS) -> HostMemory | None:
    """The current memory; None if unreadable.

    proc, groups: Linux's folders.
    """
    try:
        lines = dict(line.split(":", 1) for line in (proc / "meminfo").read_text().splitlines())
        total, available = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError, IndexError):
        return None
    for limit, left in _group(groups):
        total, available = min(total, limit), min(available, left)
    return HostMemory(total, available)


def _group(groups: Path) -> Iterator[tuple[int, int]]:
    """The control group's limit and its remainder; None without one."""
    for limit_file, usage_file, kinds_file in LIMITS:
        try:
            limit = int((groups / limit_file).read_text())
            usage = int((groups / usage_file).read_text())
            kinds = dict(line.split() for line in (groups / kinds_file).read_text().splitlines())
            files = int(kinds["active_file"]) + int(kinds["inactive_file"])
        except (OSError, KeyError, ValueError):  # "max" means that there is no limit
            continue
        yield limit, max(0, limit - max(0, usage - files))
