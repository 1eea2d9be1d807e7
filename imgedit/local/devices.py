"""Assign the GPUs of one machine to the model services of its stack.

The GPUs are counted in the driver's files, without loading a library.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from imgedit.local.ports import MAX_REPLICAS, Ports
from imgedit.local.services import MODEL_SERVICES

DRIVER = Path("/proc/driver/nvidia/gpus")
"""Has a folder for each GPU where NVIDIA's driver is loaded."""

LIGHT = ("segmentation",)
"""Services whose model is small; they are placed last."""


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


def placed(ports: Ports, available: int, environment: Mapping[str, str]) -> dict[str, str]:
    """The device of each replica, by its name, in turn over the GPUs.

    The first replicas of all services precede any second one.

    Light services come last. Empty where there are less than two GPUs; a service whose DEVICE is set has no place here.
    """
    if available < 2:
        return {}
    heavy = [row.name for row in MODEL_SERVICES if row.name not in LIGHT]
    ordered = [
        names[number]
        for group in (heavy, LIGHT)
        for number in range(MAX_REPLICAS)
        for names in map(ports.names, group)
        if number < len(names)
    ]
    free = [name for name in ordered if f"IMGEDIT_{name.partition('-')[0].upper()}_DEVICE" not in environment]
    return {name: f"cuda:{turn % available}" for turn, name in zip(count(), free, strict=False)}
