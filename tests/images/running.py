"""Containers with names and addresses on a separate network."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from deploy.docker.engine import Engine, EngineError

FACTS: list[str] = []
"""Sizes, times and skipped parts; printed after the tests."""

CONSTRAINTS = ("--read-only", "--user=10001:10001", "--cap-drop=ALL", "--security-opt=no-new-privileges")


class Bench:
    """A network without a way out, and the containers on it."""

    def __init__(self, engine: Engine, names: Sequence[str]) -> None:
        """Each name gets an address; all containers know all names."""
        self.engine = engine
        self.name = f"imgedit-test-{os.getpid()}"
        self.prefix = f"10.213.{16 + os.getpid() % 200}"
        self.addresses = {name: f"{self.prefix}.{10 + number}" for number, name in enumerate(names)}
        self._containers: list[str] = []
        engine.call("network", "create", "--internal", f"--subnet={self.prefix}.0/24", self.name)

    def container(self, name: str) -> str:
        """The name that the engine knows it by."""
        return f"{self.name}-{name}"

    def start(self, name: str, image: str, options: Sequence[str], command: Sequence[str] = ()) -> None:
        """Start a container at the address of its name."""
        where = [f"--name={self.container(name)}", *self._network(), f"--ip={self.addresses[name]}"]
        self._containers.append(self.container(name))
        self.engine.call("run", "--detach", *where, *options, image, *command)

    def run(self, image: str, options: Sequence[str], command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a container to its end."""
        given = ["--rm", *self._network(), *CONSTRAINTS, "--tmpfs=/tmp:size=256m,noexec", *options]
        return self.engine.call("run", *given, image, *command, check=False)

    def call(self, name: str, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command in a container."""
        return self.engine.call("exec", self.container(name), *command, check=False)

    def is_running(self, name: str) -> bool:
        return bool(self.engine.container(self.container(name))["State"]["Running"])

    def logs(self, name: str) -> str:
        done = self.engine.call("logs", self.container(name), check=False)
        return done.stdout + done.stderr

    def status(self, name: str) -> dict[str, str]:
        """/proc/PID/status of a container's first process, as this machine sees it."""
        pid = self.engine.container(self.container(name))["State"]["Pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def stop(self, name: str) -> int:
        """Send SIGTERM, wait for as long as the service is given, and give the exit code."""
        self.engine.call("stop", self.container(name))
        return int(self.engine.container(self.container(name))["State"]["ExitCode"])

    def remove(self, name: str) -> None:
        self.engine.call("rm", "--force", "--volumes", self.container(name), check=False)
        self._containers.remove(self.container(name))

    def wait_healthy(self, name: str, image: str, seconds: float = 600) -> None:
        """Until the health check of the image succeeds in the container."""
        check = health_check(self.engine, image)
        deadline = time.monotonic() + seconds
        while self.call(name, check).returncode:
            assert self.is_running(name), f"{name} has ended:\n{self.logs(name)[-3000:]}"
            assert time.monotonic() < deadline, f"{name} is not healthy:\n{self.logs(name)[-3000:]}"
            time.sleep(1)

    def close(self) -> None:
        for container in self._containers:
            self.engine.call("rm", "--force", "--volumes", container, check=False)
        self.engine.call("network", "rm", self.name, check=False)

    def _network(self) -> list[str]:
        return [f"--network={self.name}", *(f"--add-host={name}:{ip}" for name, ip in self.addresses.items())]


def health_check(engine: Engine, image: str) -> list[str]:
    """The command of an image's HEALTHCHECK."""
    known = engine.image(image)
    found = known.get("Healthcheck") or known.get("HealthCheck") or known["Config"].get("Healthcheck")
    if not found:
        raise EngineError(f"{image} has no health check")
    kind, *command = found["Test"]
    assert kind == "CMD", json.dumps(found)
    return list(command)
