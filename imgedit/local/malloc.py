"""How glibc and torch hold memory in this project's processes.

Environment variables that they read at their start.

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
    # torch rounds page-locked memory up to a power of two: 1.6 times the weights, with OFFLOAD=group. Not above 1 MiB.
    "PYTORCH_ALLOC_CONF": "pinned_max_round_threshold_mb:1",
}
"""Also in the images' environment, deploy/docker/Dockerfile."""
