"""The memory that the diffusion services need, for `imgedit doctor`.

`services.<service>.memory_needs` computes it in a subprocess, by arithmetic over settings and file headers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imgedit import installation
from imgedit.errors import ModelLoadError
from imgedit.local.devices import gpus
from imgedit.local.doctor import Finding
from imgedit.local.host_memory import host_memory
from imgedit.local.services import MODEL_SERVICES

SERVICES = {row.name: str(row.model) for row in MODEL_SERVICES if row.name in ("fill", "qwen_edit")}
"""The services that are asked, and the folder of each model where no setting names another."""

SECONDS = 60


def memory_needs(models: Path | None, environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """One finding for each service whose model is in the folder."""
    if models is None or not installation.has_servers():
        return
    for service, folder in SERVICES.items():
        if (models / environment.get(f"IMGEDIT_{service.upper()}_FOLDER", folder)).is_dir():
            yield _finding(service, models, environment)


def _finding(service: str, models: Path, environment: Mapping[str, str]) -> Finding:
    name = f"memory of {service}"
    try:
        needs = predicted(service, models, environment)
    except ModelLoadError as error:
        return Finding(name, "NOTE", f"not known: {error.message}")
    held = sum(needs["networks"].values())
    most = needs["on_device"] or needs["host"]
    where = "of the GPU" if needs["on_device"] else "of main memory"
    found = (
        f"{most / 1e9:.1f} GB {where} at most, {held / 1e9:.1f} GB of them weights "
        f"(arithmetic; transformer {needs['weights']}, {needs['dtype']})"
    )
    machine = host_memory()
    if machine is None or needs["on_device"] or most <= machine.available:
        return Finding(name, "OK", found)
    prefix = f"IMGEDIT_{service.upper()}_"
    advice = (
        f"{machine.available / 1e9:.1f} GB are free: set {prefix}WEIGHTS=stored with a GGUF file, "
        f"{prefix}TEXT_ENCODER_WEIGHTS=int8, {prefix}MAX_BATCH=1 or a smaller {prefix}MAX_PIXELS; docs/models.md"
    )
    return Finding(name, "WARN", found, advice)


def predicted(service: str, models: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The service's `Needs` with its `host`, see `services.diffusion.memory_needs`.

    Raises `ModelLoadError` with the reason if they are not known.
    """
    prefix = f"IMGEDIT_{service.upper()}_"
    chosen = environment.get(f"{prefix}DEVICE", "auto")
    device = "cuda" if chosen.startswith("cuda") or (chosen == "auto" and gpus(environment) > 0) else "cpu"
    machine = host_memory()
    free = machine.available if machine is not None else 0
    command = [sys.executable, "-m", f"services.{service}.memory_needs", "--device", device, "--free", str(free)]
    told = {**installation.environment(), **environment, f"{prefix}MODELS": str(models.resolve())}
    told["PYTHONPATH"] = installation.environment()["PYTHONPATH"]
    done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=SECONDS, check=False)
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise ModelLoadError(lines[-1][:300] if lines else f"{service}: exit code {done.returncode}")
    needs: dict[str, Any] = json.loads(done.stdout)
    return needs
