"""Memory that nothing uses any more goes back to the system. Knows no service.

The C library keeps what was freed between blocks that are in use, to be quick when it is asked again: after pictures of
many megapixels that is hundreds of megabytes, and other ones after other pictures.
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


def memory_release() -> Callable[[], object] | None:
    """What gives all unused memory of this process back: glibc's `malloc_trim`. None = another C library, no such way.

    It holds no lock of Python's; the next large picture pays for it with page faults.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    return None if trim is None else lambda: trim(ctypes.c_size_t(0))


async def release_regularly() -> None:
    """Every few seconds, until cancelled, release what a process that has worked since does not use.

    Work decides, not the resident size: what an edit frees after a release stays resident, and the size does not tell.
    """
    give_back = memory_release()
    if give_back is None:
        return
    seen = 0.0
    while True:
        await asyncio.sleep(SECONDS)
        if time.process_time() > seen + WORK_SECONDS:
            await asyncio.to_thread(give_back)
            seen = time.process_time()
