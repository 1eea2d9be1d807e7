"""Memory that nothing uses any more goes back to the system. Knows no service.

The C library keeps what was freed between blocks that are in use, to be quick when it is asked again: after pictures of
many megapixels that is hundreds of megabytes, and other ones after other pictures.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from pathlib import Path

SECONDS = 5.0
"""Between two looks at the size: often enough for a pod's limit, seldom enough that busy memory stays."""

SLACK_BYTES = 32 << 20
"""What may have been kept since the last time before it is worth giving back."""


def release() -> Callable[[], object] | None:
    """What gives all unused memory of this process back: glibc's `malloc_trim`. None = another C library, no such way.

    It holds no lock of Python's; the next large picture pays for it with page faults.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    return None if trim is None else lambda: trim(ctypes.c_size_t(0))


def resident_bytes() -> int:
    """Of this process, its part that is shared with others included. Linux alone knows it so cheaply."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def release_regularly() -> None:
    """Look every few seconds, until cancelled, and release where the process has grown since the last time."""
    give_back = release()
    if give_back is None:
        return
    least = 0
    while True:
        await asyncio.sleep(SECONDS)
        if resident_bytes() > least + SLACK_BYTES:
            await asyncio.to_thread(give_back)
            least = resident_bytes()
