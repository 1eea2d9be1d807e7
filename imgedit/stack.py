"""The four services as processes on this machine: what `imgedit up` starts, watches and ends.

Each is `python -m services.<name>`, set through its environment as in the cluster. This module knows ports, logs and
process ends; it knows nothing of models or edits.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

SERVICES = ("orchestrator", "segmentation", "fill", "qwen_edit")
"""In the order of their ports."""

DEFAULT_BASE_PORT = 50051
DEFAULT_METRICS_BASE_PORT = 9101

START_SECONDS = 1800.0
"""Longest wait for a service to say SERVING: a 20B model takes minutes to load."""

STOP_SECONDS = 10.0
RESTART_SECONDS = 5.0
MAX_QUICK_DEATHS = 3
QUICK_SECONDS = 60.0


@dataclass(frozen=True)
class Ports:
    """Where the services listen: gRPC at `base` to `base + 3`, metrics at `metrics_base` to `metrics_base + 3`."""

    base: int = DEFAULT_BASE_PORT
    metrics_base: int = DEFAULT_METRICS_BASE_PORT

    @classmethod
    def free(cls) -> Ports:
        """Ports that nothing listens on now. Raises `StackError` where there are none."""
        for base in range(53000, 60000, 20):
            if all(_is_free(port) for port in (*range(base, base + 4), *range(base + 10, base + 14))):
                return cls(base, base + 10)
        raise StackError("no free ports between 53000 and 60000")

    def grpc_port(self, service: str) -> int:
        """The gRPC port of a service."""
        return self.base + SERVICES.index(service)

    def metrics_port(self, service: str) -> int:
        """The metrics port of a service."""
        return self.metrics_base + SERVICES.index(service)

    def address(self, service: str) -> str:
        """The gRPC address of a service."""
        return f"127.0.0.1:{self.grpc_port(service)}"


class StackError(Exception):
    """A service could not be started; the message says which, why, and where its log is."""


@dataclass
class _Process:
    popen: subprocess.Popen[bytes]
    started: float
    quick_deaths: int = 0
    restart_at: float | None = None


@dataclass
class Stack:
    """The running services. `environment` is added to that of every service."""

    ports: Ports
    logs: Path
    environment: Mapping[str, str]
    _processes: dict[str, _Process] = field(default_factory=dict)

    @property
    def processes(self) -> dict[str, subprocess.Popen[bytes]]:
        """The process of each service."""
        return {service: process.popen for service, process in self._processes.items()}

    def start(self) -> None:
        """Start every service; returns at once. The model services come first: they need the longest.

        Raises `StackError` where another program has one of the ports.
        """
        for service in SERVICES:
            for port in (self.ports.grpc_port(service), self.ports.metrics_port(service)):
                if not _is_free(port):
                    raise StackError(
                        f"{service} cannot start: port {port} is in use. End what listens there "
                        "or choose other ports with --base-port and --metrics-base-port"
                    )
        self.logs.mkdir(parents=True, exist_ok=True)
        for service in (*SERVICES[1:], SERVICES[0]):
            self._processes[service] = _Process(self._spawn(service), time.monotonic())

    def wait_until_serving(self, timeout: float = START_SECONDS) -> Iterator[str]:
        """Yield each service as it begins to serve. Raises `StackError` when one ends or takes too long."""
        deadline = time.monotonic() + timeout
        waiting = list(SERVICES)
        while waiting:
            for service in list(waiting):
                if (code := self._processes[service].popen.poll()) is not None:
                    raise StackError(f"{service} ended with exit code {code}.\n{self._tail(service)}")
                if is_serving(self.ports.address(service)):
                    waiting.remove(service)
                    yield service
            if time.monotonic() > deadline:
                raise StackError(f"{', '.join(waiting)}: not SERVING after {timeout:g} s; logs are in {self.logs}")
            time.sleep(0.2)

    def tend(self) -> Iterator[str]:
        """One look at the processes: what happened since the last one, as messages. Brings back what died."""
        now = time.monotonic()
        for service, process in self._processes.items():
            if process.restart_at is not None and now >= process.restart_at:
                process.popen, process.started, process.restart_at = self._spawn(service), now, None
                yield f"{service}: started again"
            elif process.restart_at is None and process.popen.poll() is not None:
                yield from self._mourn(service, process, now)

    def stop(self) -> None:
        """End every service, the orchestrator first, and wait; what does not end in time is killed."""
        running = [p.popen for p in self._processes.values() if p.popen.poll() is None]
        for popen in reversed(running):  # started last, ended first
            popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for popen in running:
            try:
                popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()

    def _mourn(self, service: str, process: _Process, now: float) -> Iterator[str]:
        code = process.popen.returncode
        process.quick_deaths = process.quick_deaths + 1 if now - process.started < QUICK_SECONDS else 1
        if process.quick_deaths > MAX_QUICK_DEATHS:
            process.restart_at = float("inf")
            yield f"{service}: ended with exit code {code} again and again; not started any more. {self._tail(service)}"
            return
        process.restart_at = now + RESTART_SECONDS * process.quick_deaths
        delay = process.restart_at - now
        yield f"{service}: ended with exit code {code}; starting it again in {delay:g} s. Log: {self._log(service)}"

    def _spawn(self, service: str) -> subprocess.Popen[bytes]:
        prefix = f"IMGEDIT_{service.upper()}_"
        environment = {
            **os.environ,
            **self.environment,
            f"{prefix}PORT": str(self.ports.grpc_port(service)),
            f"{prefix}METRICS_PORT": str(self.ports.metrics_port(service)),
            f"{prefix}EXIT_WITH_PARENT": "true",
            # On one machine no balancer has to notice, and nobody waits for an edit after Ctrl-C.
            f"{prefix}DRAIN_SECONDS": "0",
            f"{prefix}GRACE_SECONDS": "3",
        }
        with self._log(service).open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", f"services.{service}"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this process alone, which then ends the others in order
            )

    def _log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def _tail(self, service: str) -> str:
        lines = self._log(service).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {self._log(service)}:", *(f"  {line[:500]}" for line in lines[-8:])])


def environment_of(ports: Ports, models: Path, *, max_work_pixels: int | None = None) -> dict[str, str]:
    """What the services of one stack share: where the models are and where each finds the others."""
    environment = {
        # Freed pictures go back to the system: without these, 100 messages of 20 MB leave 0.7 GB behind.
        "MALLOC_TRIM_THRESHOLD_": "65536",
        "MALLOC_MMAP_THRESHOLD_": "65536",
        # Several processes share the cores: torch's threads must not spin while they wait (10 times slower otherwise).
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
    }
    for service in SERVICES[1:]:
        environment[f"IMGEDIT_{service.upper()}_MODELS"] = str(models.resolve())
        environment[f"IMGEDIT_ORCHESTRATOR_{service.upper()}"] = ports.address(service)
    if max_work_pixels is not None:
        environment["IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS"] = str(max_work_pixels)
    return environment


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def is_serving(address: str, *, timeout: float = 1.0) -> bool:
    """Whether the service at `address` says SERVING; False where nothing answers."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
