"""The services of compose.yaml as options of `docker run` and `podman run`.

The options keep every constraint: user, read-only root, capabilities, privileges, tmpfs, shared memory, volumes,
environment, grace. They leave out the GPU, restarts, published ports and the start order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).with_name("compose.yaml")

LEFT_OUT = {"build", "deploy", "depends_on", "networks", "ports", "restart"}
TAKEN = {
    "cap_drop", "command", "environment", "image", "read_only", "security_opt", "shm_size", "stop_grace_period",
    "tmpfs", "user", "volumes",
}  # fmt: skip

SECONDS = {"s": 1, "m": 60, "h": 3600}

Service = Mapping[str, Any]


class ComposeError(Exception):
    """The file says something that cannot be run this way."""


def services() -> dict[str, Service]:
    """The services of the file, by name."""
    found: dict[str, Service] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["services"]
    return found


def names(name: str, service: Service) -> list[str]:
    """The names under which the others reach a service: its own, and its aliases."""
    networks = service.get("networks", [])
    own = networks.values() if isinstance(networks, Mapping) else ()
    return [name, *(alias for network in own if network for alias in network.get("aliases", []))]


def options(name: str, service: Service, variables: Mapping[str, str]) -> list[str]:
    """Options of `run` for a service. Raises `ComposeError` for an unknown key."""
    if unknown := set(service) - TAKEN - LEFT_OUT:
        raise ComposeError(f"{name}: not understood: {', '.join(sorted(unknown))}")
    found = [f"--user={service['user']}", f"--stop-timeout={seconds(service['stop_grace_period'])}"]
    if service["read_only"]:
        found.append("--read-only")
    found += [f"--cap-drop={capability}" for capability in service["cap_drop"]]
    found += [f"--security-opt={option.removesuffix(':true')}" for option in service["security_opt"]]
    found += [f"--tmpfs={tmpfs(mount)}" for mount in service["tmpfs"]]
    if "shm_size" in service:
        found.append(f"--shm-size={service['shm_size']}")
    found += [f"--volume={volume(mount, variables)}" for mount in service.get("volumes", [])]
    environment = service.get("environment", {})
    return found + [f"--env={key}={expand(str(value), variables)}" for key, value in environment.items()]


def command(service: Service) -> list[str]:
    """The arguments that follow the image."""
    return [str(word) for word in service.get("command", [])]


def tmpfs(mount: str) -> str:
    """Say noexec where docker means it: podman has another default."""
    return mount if "exec" in mount.partition(":")[2].split(",") else f"{mount},noexec"


def volume(mount: str, variables: Mapping[str, str]) -> str:
    """A mount with an absolute source; a volume's name stays as it is."""
    source, _, rest = expand(mount, variables).partition(":")
    return f"{(FILE.parent / source).resolve() if source.startswith(('.', '/')) else source}:{rest}"


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `${NAME}`, `${NAME:-default}` and `${NAME:?message}`.

    Raises `ComposeError` for a missing variable.
    """

    def one(match: re.Match[str]) -> str:
        if value := variables.get(match[1]):
            return value
        if match[2] != ":-":
            raise ComposeError(f"{match[1]} is not set: {match[3] or 'it has no default'}")
        return match[3]

    return re.sub(r"\$\{(\w+)(:-|:\?)?([^}]*)\}", one, text)


def seconds(duration: str) -> int:
    """A duration such as `6m` in seconds."""
    match = re.fullmatch(r"(\d+)([smh])", duration)
    if match is None:
        raise ComposeError(f"not a duration: {duration!r}; write a number and s, m or h")
    return int(match[1]) * SECONDS[match[2]]
