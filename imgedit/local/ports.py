"""The ports of a stack on one machine."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from imgedit.local.services import MAX_SERVICES, OPENAI_API, ORCHESTRATOR, SERVICES, TABLE

DEFAULT_BASE_PORT = ORCHESTRATOR.port
DEFAULT_METRICS_BASE_PORT = ORCHESTRATOR.metrics_port
DEFAULT_GATEWAY_PORT = 8080
DEFAULT_STUDIO_PORT = 8501

MAX_PORT = 65_535

MAX_REPLICAS = 4
"""Of one service on one machine."""

_LISTENERS = MAX_SERVICES
_FURTHER = _LISTENERS + MAX_SERVICES
_ADMIN = _FURTHER + MAX_SERVICES * (MAX_REPLICAS - 1)
"""Offsets from the base port: the sidecar's listeners, the replicas after the first, Envoy's admin pages."""

_METRICS_ENVOY = MAX_SERVICES
_METRICS_FURTHER = _FURTHER
"""Offsets from the metrics base port: the edge's and the sidecar's figures, and those of further replicas."""

_METRICS_PLACES = {row.name: row.metrics_port - ORCHESTRATOR.metrics_port for row in TABLE}
"""Offset of each service's metrics from the metrics base port."""

_BLOCK = 120
"""Ports of a stack in `Ports.free`: gRPC, the page and the edge in the first half, metrics in the other."""


@dataclass(frozen=True)
class Ports:
    """The services' ports: gRPC from `base`, metrics from `metrics_base`.

    Further replicas and Envoy use numbers up to `base + 51` and `metrics_base + 49`. replicas: how many of a service
    there are, where it is not one. gateway: port of the edge, behind which the OpenAI API listens at the next port;
    studio: port of the page; None = there is none.
    """

    base: int = DEFAULT_BASE_PORT
    metrics_base: int = DEFAULT_METRICS_BASE_PORT
    replicas: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    gateway: int | None = None
    studio: int | None = None

    @classmethod
    def free(
        cls, *, replicas: Mapping[str, int] = MappingProxyType({}), gateway: bool = False, studio: bool = False
    ) -> Ports:
        """Free ports from a block reserved for this process.

        They are below the system's ephemeral ports (32768 and up). Raises `OSError` if none are left.
        """
        half = _BLOCK // 2
        for base in range(20000, 32000, _BLOCK):
            edge, page = base + half - 2 if gateway else None, base + half - 3 if studio else None
            found = cls(base, base + half, replicas, edge, page)
            if _claim(base) and all(is_free(port) for port in found.all()):
                return found
        raise OSError("no free ports between 20000 and 32000")

    @property
    def has_sidecar(self) -> bool:
        """Whether calls of the model services pass a balancer."""
        return any(count > 1 for service, count in self.replicas.items() if service != "orchestrator")

    def names(self, service: str) -> list[str]:
        """The name of each replica: "fill", "fill-2" …"""
        further = [f"{service}-{number}" for number in range(2, self.replicas.get(service, 1) + 1)]
        return [service, *further]

    def grpc_port(self, name: str) -> int:
        """The gRPC port of a replica."""
        place = SERVICES.index(name.partition("-")[0])
        return self._port(name, self.base + place, self.base + _FURTHER)

    @property
    def openai(self) -> int | None:
        """The port of the OpenAI API behind the edge; None where there is no edge."""
        return None if self.gateway is None else self.gateway + 1

    def metrics_port(self, name: str) -> int:
        """The metrics port of a replica, or of "edge" and "sidecar"."""
        if name in ("edge", "sidecar"):
            return self.metrics_base + _METRICS_ENVOY + ("edge", "sidecar").index(name)
        place = _METRICS_PLACES[name.partition("-")[0]]
        return self._port(name, self.metrics_base + place, self.metrics_base + _METRICS_FURTHER)

    def listener_port(self, service: str) -> int:
        """The sidecar's port for a model service."""
        return self.base + _LISTENERS + SERVICES.index(service) - 1

    def admin_port(self, name: str) -> int:
        """The port of Envoy's admin pages, of "edge" or "sidecar"."""
        return self.base + _ADMIN + ("edge", "sidecar").index(name)

    def address(self, name: str) -> str:
        """The gRPC address of a replica."""
        return f"127.0.0.1:{self.grpc_port(name)}"

    def target(self, service: str) -> str:
        """The orchestrator's address for a model service.

        Its only replica, or the sidecar before several.
        """
        return f"127.0.0.1:{self.listener_port(service)}" if self.has_sidecar else self.address(service)

    def all(self) -> Iterator[int]:
        """Every port that the stack needs."""
        return (port for _, port in self.named())

    def named(self) -> Iterator[tuple[str, int]]:
        """The same, with each port's purpose."""
        for service in SERVICES:
            for name in self.names(service):
                yield f"gRPC of {name}", self.grpc_port(name)
                yield f"metrics of {name}", self.metrics_port(name)
        if self.has_sidecar:
            yield from ((f"the sidecar's {service}", self.listener_port(service)) for service in SERVICES[1:])
            yield "the sidecar's admin pages", self.admin_port("sidecar")
            yield "metrics of the sidecar", self.metrics_port("sidecar")
        if self.gateway is not None:
            yield "the gateway", self.gateway
            yield "the gateway's admin pages", self.admin_port("edge")
            yield "metrics of the gateway", self.metrics_port("edge")
        if self.openai is not None:
            yield "the OpenAI API", self.openai
            yield "metrics of the OpenAI API", self.metrics_port(OPENAI_API.name)
        if self.studio is not None:
            yield "the page", self.studio

    def check(self) -> None:
        """Raise `ValueError` for two listeners on one port, or an invalid port."""
        taken: dict[int, str] = {}
        for name, port in self.named():
            if not 1 <= port <= MAX_PORT:
                raise ValueError(f"{name} would be port {port}; ports are 1 to {MAX_PORT}")
            if port in taken:
                raise ValueError(f"port {port} would be both {taken[port]} and {name}; choose other ports")
            taken[port] = name

    def _port(self, name: str, first: int, further: int) -> int:
        """The port of a replica: `first` for a service's first one.

        The further replicas of all services are numbered consecutively from `further`.
        """
        service, _, number = name.partition("-")
        if not number:
            return first
        return further + SERVICES.index(service) * (MAX_REPLICAS - 1) + int(number) - 2


def _claim(base: int) -> bool:
    """Reserve the range that begins at `base` for this process.

    False if it is taken. The lock's descriptor stays open on purpose: the system unlocks it when the process ends.
    """
    path = Path(tempfile.gettempdir(), f"imgedit-ports-{base}.lock")
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:  # another user's
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return False
    return True


def is_free(port: int) -> bool:
    """Whether no process on this machine listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
