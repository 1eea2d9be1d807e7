"""Run the services as processes on this machine, for `imgedit up`.

Each is `python -m services.<name>`, configured by its environment as in the cluster, behind Envoy if requested.
"""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from imgedit import installation, sighup
from imgedit.channels import proxy_options
from imgedit.local import gateway, log_rotation, malloc
from imgedit.local.gateway import Address
from imgedit.local.ports import Ports, is_free
from imgedit.local.services import OPENAI_API, SERVICES

START_SECONDS = 1800.0
"""How long a service that loads may write nothing to its log: it writes a line every few seconds of reading."""

_WITH_PARENT = """import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
os.execv(sys.argv[1], sys.argv[1:])
"""
"""Runs a program that is told to end when the process that started it is gone; our own services watch by themselves."""

DEMO_MODELS = installation.ROOT / "demo" / "models"
"""The demo's checkpoints, which a checkout has and an installed package has not."""
DEMO_FAST_LORAS = {
    "IMGEDIT_FILL_LORA_FAST": "FLUX.1-Fill-dev/lora/fast.safetensors",
    "IMGEDIT_QWEN_EDIT_LORA_FAST": "Qwen-Image-Edit-2509/lora/fast.safetensors",
}
DEMO_WORK_PIXELS = 256 * 256
"""The size that they were trained on; they paint larger pictures worse."""
DEMO_MIN_WORK_PIXELS = 192 * 192
"""The smallest that they were trained on."""
DEMO_REFERENCE_PIXELS = 128 * 128
"""The size of the references that they were trained with."""

REPORT_SECONDS = 15.0
"""How often a wait says what it waits for."""

MAX_DETAILS = 500
"""Characters of gRPC's reason for a failed call that a message repeats."""

STOP_SECONDS = 10.0
RESTART_SECONDS = 5.0
MAX_QUICK_DEATHS = 3
QUICK_SECONDS = 60.0


class StackError(Exception):
    """A service could not be started.

    The message names service, cause and log.
    """


@dataclass(frozen=True)
class Program:
    """One process of the stack.

    address: where it listens. ready_at: port and path of its plain HTTP readiness, independent of credentials; None =
    the health of `address` counts.
    """

    name: str
    command: list[str]
    environment: Mapping[str, str]
    address: str
    ready_at: tuple[int, str] | None = None
    further_addresses: tuple[str, ...] = ()

    def fault(self) -> str | None:
        """Why it is not serving yet; None when it is."""
        if self.ready_at is None:
            faults = map(serving_fault, (self.address, *self.further_addresses))
            return next((fault for fault in faults if fault is not None), None)
        return readiness_fault(*self.ready_at)


@dataclass
class _Process:
    program: Program
    popen: subprocess.Popen[bytes]
    started: float
    quick_deaths: int = 0
    restart_at: float | None = None


@dataclass
class Stack:
    """The running services.

    `environment` is added to every service's own; `devices` holds the device of a replica by its name. `services` are
    the model services that run.
    """

    ports: Ports
    logs: Path
    environment: Mapping[str, str]
    devices: Mapping[str, str] = field(default_factory=dict)
    services: Collection[str] = SERVICES[1:]
    _processes: dict[str, _Process] = field(default_factory=dict)

    @property
    def processes(self) -> dict[str, subprocess.Popen[bytes]]:
        """The process of each program.

        Services by name, "fill-2" for a second replica, "sidecar", "edge", "studio".
        """
        return {name: process.popen for name, process in self._processes.items()}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each program listens."""
        return {name: process.program.address for name, process in self._processes.items()}

    @property
    def ready_at(self) -> dict[str, tuple[int, str]]:
        """Port and path of the HTTP readiness of the programs that have one."""
        programs = [process.program for process in self._processes.values()]
        return {program.name: program.ready_at for program in programs if program.ready_at is not None}

    def address(self, name: str) -> str:
        """The address of a program."""
        return self._processes[name].program.address

    def start(self) -> None:
        """Start everything without waiting; model services first, since they take longest.

        Raises `StackError` if another program has one of the ports, `SettingsError` if Envoy is needed and not
        installed.
        """
        for port in self.ports.all():
            if not is_free(port):
                raise StackError(
                    f"cannot start: port {port} is in use. End what listens there or choose other ports with "
                    "--base-port, --metrics-base-port, --gateway-port and --studio-port"
                )
        self.logs.mkdir(parents=True, exist_ok=True)
        for program in self._programs():
            self._processes[program.name] = _Process(program, self._spawn(program), time.monotonic())

    def wait_until_serving(
        self, timeout: float = START_SECONDS, on_wait: Callable[[str], None] = lambda _: None
    ) -> Iterator[str]:
        """Yield each program as it begins to serve.

        Raises `StackError` when one ends, or writes nothing to its log for `timeout` seconds: a large model on a slow
        disk takes as long as it takes. `on_wait` is called every 15 s with the pending programs and their reasons.
        """
        started = time.time()
        tell_at = time.monotonic() + REPORT_SECONDS
        waiting = dict(self._processes)
        faults: dict[str, str] = {}
        while waiting:
            for name, process in list(waiting.items()):
                if (code := process.popen.poll()) is not None:
                    raise StackError(f"{name} ended with exit code {code}.\n{self._tail(name)}")
                if (fault := process.program.fault()) is not None:
                    faults[name] = fault
                    continue
                del waiting[name]
                yield name
            reasons = "; ".join(f"{name} ({faults[name]})" for name in waiting)
            quiet = [name for name in waiting if time.time() - max(started, self._last_line(name)) > timeout]
            if quiet:
                raise StackError(
                    f"not SERVING, and nothing in the log of {', '.join(quiet)} for {timeout:g} s: {reasons}. "
                    f"Logs are in {self.logs}"
                )
            if waiting and time.monotonic() > tell_at:
                tell_at = time.monotonic() + REPORT_SECONDS
                on_wait(reasons)
            time.sleep(0.2)

    def tend(self) -> Iterator[str]:
        """Check the processes once, restart dead ones, and yield messages of the changes.

        Logs over their size limit are rotated.
        """
        now = time.monotonic()
        for process in self._processes.values():
            log_rotation.rotate(self._log(process.program.name))
            if process.restart_at is not None and now >= process.restart_at:
                process.popen, process.started, process.restart_at = self._spawn(process.program), now, None
                yield f"{process.program.name}: started again"
            elif process.restart_at is None and process.popen.poll() is not None:
                yield from self._handle_exit(process, now)

    def stop(self) -> None:
        """Stop everything, the frontmost first, and wait.

        Kills processes that do not stop in time.
        """
        running = [p.popen for p in self._processes.values() if p.popen.poll() is None]
        for popen in reversed(running):  # started last, stopped first
            popen.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for popen in running:
            try:
                popen.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()

    def reload(self) -> None:
        """Have every orchestrator reload its catalogue."""
        for name in self.ports.names(SERVICES[0]):
            process = self._processes.get(name)
            if process is not None and process.popen.poll() is None:
                process.popen.send_signal(signal.SIGHUP)

    def _programs(self) -> Iterator[Program]:
        """The programs in start order."""
        for service in self.services:
            yield from (self._service(service, name) for name in self.ports.names(service))
        if self.ports.has_sidecar:
            yield self._sidecar()
        yield from (self._service(SERVICES[0], name) for name in self.ports.names(SERVICES[0]))
        if self.ports.gateway is not None and self.ports.openai is not None:
            yield self._openai_api(self.ports.openai)
            yield self._edge(self.ports.gateway, self.ports.openai)
        if self.ports.studio is not None:
            yield self._studio(self.ports.studio)

    def _service(self, service: str, name: str) -> Program:
        return self._server(service, name, self.ports.grpc_port(name))

    def _openai_api(self, port: int) -> Program:
        service = OPENAI_API.name
        found = self._server(service, service, port)
        return replace(
            found,
            environment={
                **found.environment,
                f"IMGEDIT_{service.upper()}_ORCHESTRATOR": self.ports.address(SERVICES[0]),
            },
        )

    def _server(self, service: str, name: str, port: int) -> Program:
        prefix = f"IMGEDIT_{service.upper()}_"
        environment = {
            f"{prefix}PORT": str(port),
            f"{prefix}METRICS_PORT": str(self.ports.metrics_port(name)),
            f"{prefix}EXIT_WITH_PARENT": "true",
            # On one machine there is no balancer to wait for, and nobody waits for an edit after Ctrl-C.
            f"{prefix}DRAIN_SECONDS": "0",
            f"{prefix}GRACE_SECONDS": "3",
        }
        if name in self.devices:
            environment[f"{prefix}DEVICE"] = self.devices[name]
        command = [sys.executable, "-m", f"services.{service}"]
        ready_at = (self.ports.metrics_port(name), "/readyz")
        return Program(name, command, environment, f"127.0.0.1:{port}", ready_at)

    def _sidecar(self) -> Program:
        config = gateway.sidecar_config(
            listeners={service: Address(self.ports.listener_port(service)) for service in SERVICES[1:]},
            replicas={service: self._addresses(service) for service in SERVICES[1:]},
            metrics=Address(self.ports.metrics_port("sidecar")),
            admin=Address(self.ports.admin_port("sidecar")),
        )
        first, *further = (self.ports.target(service) for service in SERVICES[1:])
        return Program(
            "sidecar", self._envoy(config, "sidecar"), gateway.ENVIRONMENT, first, further_addresses=tuple(further)
        )

    def _edge(self, port: int, openai: int) -> Program:
        config = gateway.edge_config(
            public=Address(port),
            metrics=Address(self.ports.metrics_port("edge")),
            admin=Address(self.ports.admin_port("edge")),
            orchestrators=self._addresses(SERVICES[0]),
            openai=[Address(openai)],
        )
        return Program("edge", self._envoy(config, "edge"), gateway.ENVIRONMENT, f"127.0.0.1:{port}")

    def _studio(self, port: int) -> Program:
        environment = {"IMGEDIT_STUDIO_PORT": str(port), "IMGEDIT_STUDIO_SERVER": self.ports.address(SERVICES[0])}
        command = _with_parent([sys.executable, "-m", "studio"])
        return Program("studio", command, environment, f"127.0.0.1:{port}", (port, "/_stcore/health"))

    def _envoy(self, config: gateway.Config, name: str) -> list[str]:
        return _with_parent(gateway.envoy_command(config, self.logs / f"{name}.json"))

    def _addresses(self, service: str) -> list[Address]:
        return [Address(self.ports.grpc_port(name)) for name in self.ports.names(service)]

    def _handle_exit(self, process: _Process, now: float) -> Iterator[str]:
        name, code = process.program.name, process.popen.returncode
        process.quick_deaths = process.quick_deaths + 1 if now - process.started < QUICK_SECONDS else 1
        if process.quick_deaths > MAX_QUICK_DEATHS:
            process.restart_at = float("inf")
            yield f"{name}: ended with exit code {code} again and again; not started any more. {self._tail(name)}"
            return
        process.restart_at = now + RESTART_SECONDS * process.quick_deaths
        delay = process.restart_at - now
        yield f"{name}: ended with exit code {code}; starting it again in {delay:g} s. Log: {self._log(name)}"

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with self._log(program.name).open("ab") as log, sighup.blocked_for_children():
            return subprocess.Popen(
                program.command,
                env={**installation.environment(), **self.environment, **program.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only this process, which stops the others in order
            )

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _last_line(self, name: str) -> float:
        """When the program last wrote to its log, in seconds since the epoch."""
        return self._log(name).stat().st_mtime

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"The end of {self._log(name)}:", *(f"  {line[:500]}" for line in lines[-8:])])


def _with_parent(command: list[str]) -> list[str]:
    return [sys.executable, "-c", _WITH_PARENT, *command] if sys.platform == "linux" else command


def environment_of(ports: Ports, models: Path | None, *, max_work_pixels: int | None = None) -> dict[str, str]:
    """The environment of all services of a stack: models, and each other's addresses.

    models: None = other settings say where each service finds its model.
    """
    environment = {
        **malloc.SERVICE,
        # Processes share the cores: torch's threads must not spin while they wait (10 times slower otherwise).
        "OMP_WAIT_POLICY": "PASSIVE",
        "HF_HUB_OFFLINE": "1",
        "PYTHONIOENCODING": "utf-8",  # of their logs, independent of the terminal
    }
    for service in SERVICES[1:]:
        if models is not None:
            environment[f"IMGEDIT_{service.upper()}_MODELS"] = str(models.resolve())
        environment[f"IMGEDIT_ORCHESTRATOR_{service.upper()}"] = ports.target(service)
    if max_work_pixels is not None:
        environment["IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS"] = str(max_work_pixels)
        environment["IMGEDIT_QWEN_EDIT_REFERENCE_PIXELS"] = str(max_work_pixels)
    return environment


def demo_environment_of(
    ports: Ports, models: Path = DEMO_MODELS, *, max_work_pixels: int = DEMO_WORK_PIXELS
) -> dict[str, str]:
    """`environment_of` for the demo checkpoints, with their sizes and few-step LoRAs.

    Without a LoRA file the profile `fast` is rejected, as everywhere.
    """
    environment = environment_of(ports, models, max_work_pixels=max_work_pixels)
    environment["IMGEDIT_QWEN_EDIT_REFERENCE_PIXELS"] = str(DEMO_REFERENCE_PIXELS)
    environment["IMGEDIT_ORCHESTRATOR_FILL_MIN_WORK_PIXELS"] = str(DEMO_MIN_WORK_PIXELS)
    environment["IMGEDIT_ORCHESTRATOR_QWEN_EDIT_MIN_WORK_PIXELS"] = str(DEMO_MIN_WORK_PIXELS)
    loras = {variable: file for variable, file in DEMO_FAST_LORAS.items() if (models / file).is_file()}
    return {**environment, **loras}


def credentials_of(tokens: Path) -> dict[str, str]:
    """The settings that require credentials.

    Callers need a token of this file, the orchestrator a generated one for the model services.
    """
    service_token = secrets.token_hex(32)
    environment = {f"IMGEDIT_{service.upper()}_SERVICE_TOKEN": service_token for service in SERVICES}
    return {**environment, "IMGEDIT_ORCHESTRATOR_TOKENS_FILE": str(tokens.resolve())}


def is_serving(address: str, *, timeout: float = 1.0) -> bool:
    """Whether the service at `address` is SERVING; False without a response."""
    return serving_fault(address, timeout=timeout) is None


def readiness_fault(port: int, path: str) -> str | None:
    """The reason why a program of this machine is not ready over HTTP; None if it is."""
    asked = HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        asked.request("GET", path)
        status = asked.getresponse().status
        return None if status == HTTPStatus.OK else f"port {port} answers {path} with {status}, not ready"
    except (OSError, HTTPException) as error:
        return f"port {port} does not answer: {error or type(error).__name__}"
    finally:
        asked.close()


def serving_fault(address: str, *, timeout: float = 1.0) -> str | None:
    """Why the service at `address` is not SERVING; None when it is."""
    with grpc.insecure_channel(address, options=proxy_options(address)) as channel:
        try:
            response = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError as error:
            details = textwrap.shorten(str(error.details()), MAX_DETAILS, placeholder=" …")
            return f"{address}: {error.code().name}, {details}"
    if response.status == health_pb2.HealthCheckResponse.SERVING:
        return None
    return f"{address}: {health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)}"
