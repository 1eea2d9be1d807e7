"""How much memory a process takes, phase by phase, from /proc.

resident: the most that was mapped and in memory (VmHWM), pages of the weight files among it, which the system drops
where it needs their room. anonymous: what the process alone holds (RssAnon), sampled ten times a second.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

SECONDS = 0.1
RESET_PEAK = "5"
"""Written to clear_refs: VmHWM starts again."""


@dataclass
class Peak:
    """Bytes: the most of a phase."""

    resident: int = 0
    anonymous: int = 0


@dataclass
class Watch:
    """Watches one process until `close`. peaks: by phase, in order."""

    pid: int
    phase: str
    peaks: dict[str, Peak] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._reset()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def enter(self, phase: str) -> None:
        """From now on another phase runs."""
        with self._lock:
            self._look()
            self.phase = phase
            self._reset()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._closed.wait(SECONDS):
            with self._lock:
                self._look()

    def _look(self) -> None:
        found = status(self.pid)
        peak = self.peaks.setdefault(self.phase, Peak())
        peak.resident = max(peak.resident, found.get("VmHWM", 0))
        peak.anonymous = max(peak.anonymous, found.get("RssAnon", 0))

    def _reset(self) -> None:
        try:
            Path(f"/proc/{self.pid}/clear_refs").write_text(RESET_PEAK)
        except OSError:  # the process has ended, or the peak of the process's whole life has to do
            return


def status(pid: int) -> dict[str, int]:
    """The sizes in /proc/PID/status, in bytes; empty where the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines if line.endswith(" kB"))
    return {name.rstrip(":"): int(size) * 1024 for name, size, _ in fields}
