"""How glibc keeps freed memory in this project's processes: environment variables that it reads at their start.

Giving everything back at once took two thirds of the processor time of a 1-megapixel edit, in page faults.
"""

from __future__ import annotations

DECODER = {
    # What a large picture took goes back to the system; what a small one took is kept for the next.
    "MALLOC_TRIM_THRESHOLD_": "16777216",
    "MALLOC_MMAP_THRESHOLD_": "8388608",
}

SERVICE = {
    **DECODER,
    "MALLOC_ARENA_MAX": "2",
    # The heap grows by that much at once and keeps as much; every few seconds `services/common/memory.py` gives all
    # that is unused back.
    "MALLOC_TOP_PAD_": "67108864",
}
"""Also in the images' environment, deploy/docker/Dockerfile."""
