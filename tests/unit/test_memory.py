"""Memory that nothing uses goes back to the system."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from services.common import memory

pytestmark = pytest.mark.skipif(memory.release() is None, reason="another C library than glibc; run it on Debian")

HOLES = """
import ctypes
from services.common import memory
blocks = [bytearray(1 << 20) for _ in range(300)]
pins = [bytes(1000) for _ in range(1)]
kept = blocks[::10]
full = memory.resident_bytes()
del blocks
before = memory.resident_bytes()
memory.release()()
print(full, before, memory.resident_bytes(), len(kept))
"""


def test_what_was_freed_between_blocks_in_use_is_given_back() -> None:
    # Without thresholds a block of 1 MiB would never be kept; the services' environment has them.
    environment = {"MALLOC_MMAP_THRESHOLD_": "8388608", "MALLOC_TRIM_THRESHOLD_": "1073741824"}
    ran = subprocess.run([sys.executable, "-c", HOLES], env=environment, capture_output=True, text=True, check=True)
    full, before, after, kept = (int(number) for number in ran.stdout.split())
    assert before > full - (20 << 20)  # kept by the C library
    assert after < full - (240 << 20)
    assert kept == 30


def test_a_process_that_grew_is_released_and_one_that_did_not_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = iter([100, 60, 80, 200, 70])  # looked at, after the release, looked at, looked at, after the release
    released = []
    monkeypatch.setattr(memory, "SECONDS", 0.001)
    monkeypatch.setattr(memory, "SLACK_BYTES", 30)
    monkeypatch.setattr(memory, "resident_bytes", lambda: next(sizes))
    monkeypatch.setattr(memory, "release", lambda: lambda: released.append(True))

    with pytest.raises(RuntimeError, match="StopIteration"):
        asyncio.run(memory.release_regularly())
    assert len(released) == 2
