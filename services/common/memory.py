"""Return unused memory to the system.

After large images, the C library keeps hundreds of megabytes of freed memory between used blocks.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

SECONDS = 5.0
"""Between two looks: often enough for a pod's limit, seldom enough that busy memory stays."""

WORK_SECONDS = 0.1
"""Of processor time since the last look; with less, nothing large can have come and gone."""


def release() -> Callable[[], object] | None:
    """The C library's `malloc_trim`, which releases all unused memory.

    None = not glibc.

    It does not hold the GIL. The next large image pays for it with page faults.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    return None if trim is None else lambda: trim(ctypes.c_size_t(0))


async def release_regularly() -> None:
    """Release unused memory every few seconds, if the process has worked since.

    Runs until cancelled. Work is the trigger, because the resident size does not show freed memory.
    """
    give_back = release()
    if give_back is None:
        return
    seen = 0.0
    while True:
        await asyncio.sleep(SECONDS)
        if time.process_time() > seen + WORK_SECONDS:
            await asyncio.to_thread(give_back)
            seen = time.process_time()
