"""The GPUs of one machine, counted in the driver's files without a library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Has a folder for each GPU where NVIDIA's driver is loaded."""


def gpus(environment: Mapping[str, str] = os.environ, driver: Path = DRIVER) -> int:
    """The number of GPUs that the services will see.

    CUDA_VISIBLE_DEVICES decides, else the driver's count.
    """
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [name for name in visible.split(",") if name.strip()]
        # CUDA takes the names before the first invalid one.
        return next((place for place, name in enumerate(named) if name.strip() == "-1"), len(named))
    return sum(1 for _ in driver.iterdir()) if driver.is_dir() else 0
