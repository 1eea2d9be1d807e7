"""The benchmarks of a run, and how one is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Any

PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "segmentation": (),
    "crop": (),
    "gguf": (),
    "engine": ("--seconds", "300"),
    "memory": (),
    "capacity": (),
    "openai_api": (),
    "overhead": (),
    "scaling": (),
    "soak": (),
}
"""The benchmarks of a full run, with their options."""

QUICK: Mapping[str, tuple[str, ...]] = {
    "crop": ("--rounds", "1", "--steps", "1"),
    "openai_api": ("--rounds", "20"),
    "overhead": ("--megapixels", "1", "--rounds", "5"),
}
"""A few minutes: what a change of the chain, the doors or the work area is likely to slow down."""


class NoResult(RuntimeError):
    """A benchmark whose output does not end with a JSON object."""


def run(benchmark: str, options: tuple[str, ...], tell: Callable[[str], None]) -> tuple[int, dict[str, Any] | None]:
    """Run a benchmark; each line of its output goes to `tell`.

    Its exit code, and its result, None if it failed before it had one. A benchmark may miss its own goal: it then has a
    result and an exit code other than 0. Raises `NoResult` if it ended well without one.
    """
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", *options]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
    last = ""
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            last = line.rstrip("\n") or last
            tell(f"{benchmark}: {line.rstrip()}")
    result = _object(last)
    if result is None and process.returncode == 0:
        raise NoResult(f"benchmarks.{benchmark} ended with 0, but its last line is not a JSON object: {last[:200]}")
    return process.returncode, result


def _object(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
