"""Memory that nothing uses goes back to the system."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from services.common import memory

HOLES = """
import psutil
from services.common import memory
resident = lambda: psutil.Process().memory_info().rss
blocks = [bytearray(1 << 20) for _ in range(300)]
kept = blocks[::10]
full = resident()
del blocks
before = resident()
memory.memory_release()()
print(full, before, resident(), len(kept))
"""


@pytest.mark.skipif(memory.memory_release() is None, reason="another C library than glibc; run it on Debian")
def test_what_was_freed_between_blocks_in_use_is_given_back() -> None:
    # Without thresholds a block of 1 MiB would never be kept; the services' environment has them.
    environment = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
    ran = subprocess.run([sys.executable, "-c", HOLES], env=environment, capture_output=True, text=True, check=True)
    full, before, after, kept = (int(number) for number in ran.stdout.split())
    assert before > full - (20 << 20)  # kept by the C library
    assert after < full - (240 << 20)
    assert kept == 30


def test_a_process_that_has_worked_is_released_and_one_that_has_not_is_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = iter([1.0, 1.1, 1.15, 9.0, 9.1])  # a look, after the release, a look, a look, after the release
    released: list[bool] = []
    monkeypatch.setattr(memory, "SECONDS", 0.001)
    monkeypatch.setattr("services.common.memory.time.process_time", lambda: next(times))
    monkeypatch.setattr(memory, "memory_release", lambda: lambda: released.append(True))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(memory.release_regularly())
    assert len(released) == 2
