"""Spread the model services of one machine over its GPUs.

Every service's first replica is placed before any second one, the largest need first, each on the GPU with the most
memory left. `imgedit up` follows the plan and prints it; `imgedit doctor` prints it for compose.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from imgedit.errors import ModelLoadError
from imgedit.local import doctor
from imgedit.local.devices import gpus
from imgedit.local.doctor import PUBLISHED_BYTES, Finding
from imgedit.local.doctor_memory import SERVICES as DIFFUSION
from imgedit.local.doctor_memory import predicted
from imgedit.local.ports import Ports
from imgedit.local.services import MODEL_SERVICES

SEGMENTATION_BYTES = 3 * 10**9
"""BEN2 with its work and CUDA's own memory, rounded up."""

RULE = "first replicas first, the largest need first, each on the GPU with the most memory left"


@dataclass(frozen=True)
class Replica:
    """A replica to place.

    needed: bytes on the device. device: the setting's; "" = to be chosen.
    """

    name: str
    needed: int
    device: str = ""


@dataclass(frozen=True)
class Placement:
    """A placed replica. left: bytes that its GPU had left before it."""

    name: str
    device: str
    needed: int
    left: int


@dataclass(frozen=True)
class Plan:
    """Where the replicas run.

    text: the rule and the result. devices: by replica; empty = as the settings say.
    """

    text: str
    devices: Mapping[str, str] = field(default_factory=dict)


def spread(replicas: Iterable[Replica], free: Sequence[int]) -> list[Placement]:
    """Choose a GPU for every replica without one. free: bytes by GPU.

    A replica may need more than is left: no choice would be better.
    """
    left = [*free]
    waiting = []
    for replica in replicas:
        if not replica.device:
            waiting.append(replica)
        elif (index := _index(replica.device)) is not None and index < len(left):
            left[index] -= replica.needed
    found = []
    for replica in sorted(waiting, key=lambda one: (_number(one.name), -one.needed)):
        index = max(range(len(left)), key=lambda gpu: left[gpu])
        found.append(Placement(replica.name, f"cuda:{index}", replica.needed, left[index]))
        left[index] -= replica.needed
    return found


def planned(ports: Ports, models: Path, environment: Mapping[str, str]) -> Plan:
    """The plan for a stack on this machine."""
    if gpus(environment) == 0:
        return Plan("no GPU: all replicas of the model services run on the CPU")
    if gpus(environment) == 1:
        return Plan("one GPU: all replicas of the model services share it")
    facts, fault = doctor.probe()
    if facts is None:
        return Plan(f"GPUs are not assigned, since torch cannot be used: {fault}")
    if not facts["devices"]:
        return Plan(f"torch {facts['torch']} uses no GPU: all replicas of the model services run on the CPU")
    free = [int(device["free"]) for device in facts["devices"]]
    placements = spread(_replicas(ports, models, environment), free)
    listed = ", ".join(map(_words, placements)) or "every service has its DEVICE"
    return Plan(f"{len(free)} GPUs ({RULE}): {listed}", {each.name: each.device for each in placements})


def for_compose(models: Path | None, environment: Mapping[str, str]) -> Iterable[Finding]:
    """The plan for one replica of each service, where there are several GPUs."""
    if models is None or gpus(environment) < 2:
        return
    plan = planned(Ports(), models, environment)
    variables = " ".join(f"{_variable(name)}={device}" for name, device in plan.devices.items())
    advice = f"for compose, set {variables}; `imgedit up` does so by itself" if variables else ""
    yield Finding("spread over GPUs", "NOTE", plan.text, advice)


def _replicas(ports: Ports, models: Path, environment: Mapping[str, str]) -> list[Replica]:
    return [
        Replica(name, needed, environment.get(_variable(row.name), ""))
        for row in MODEL_SERVICES
        for needed in [_needed(row.name, models, environment)]
        for name in ports.names(row.name)
    ]


def _needed(service: str, models: Path, environment: Mapping[str, str]) -> int:
    """Bytes on the device by doctor's arithmetic, else those of the published model."""
    if service not in DIFFUSION:
        return SEGMENTATION_BYTES
    folder = Path(environment.get(f"IMGEDIT_{service.upper()}_MODELS", models))
    try:
        return int(predicted(service, folder, {**environment, _variable(service): "cuda"})["on_device"])
    except (ModelLoadError, subprocess.TimeoutExpired):
        return PUBLISHED_BYTES[service.upper()][1]


def _variable(name: str) -> str:
    return f"IMGEDIT_{name.partition('-')[0].upper()}_DEVICE"


def _index(device: str) -> int | None:
    """The GPU that a setting names; `cuda` is the first.

    None = no GPU, or none that is known yet.
    """
    kind, _, number = device.partition(":")
    return int(number or 0) if kind == "cuda" and (number or "0").isdecimal() else None


def _number(name: str) -> int:
    return int(name.partition("-")[2] or 1)


def _words(each: Placement) -> str:
    needs = f"needs {each.needed / 1e9:.1f} of {max(each.left, 0) / 1e9:.1f} GB left"
    return f"{each.name} {each.device} ({needs}{', too little' if each.needed > each.left else ''})"
