"""Memory settings of glibc and torch, as environment variables of our processes.

Releasing everything at once took two thirds of the CPU time of a 1-megapixel edit, in page faults.
"""

from __future__ import annotations

DECODER = {
    # Memory of large images is released; memory of small ones is kept.
    "MALLOC_TRIM_THRESHOLD_": "16777216",
    "MALLOC_MMAP_THRESHOLD_": "8388608",
}

SERVICE = {
    **DECODER,
    "MALLOC_ARENA_MAX": "2",
    # The heap grows by this much and keeps as much; `services/common/memory.py` releases unused memory every few
    # seconds.
    "MALLOC_TOP_PAD_": "67108864",
    # torch rounds page-locked memory up to a power of two: 1.6 times the weights with OFFLOAD=group. Not above 1 MiB.
    "PYTORCH_ALLOC_CONF": "pinned_max_round_threshold_mb:1",
}
"""Also in the images' environment, deploy/docker/Dockerfile."""
