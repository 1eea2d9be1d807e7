"""The container engine of this machine: docker, podman, or buildah (builds only)."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAMS = ("docker", "podman", "buildah")
"""In the order in which they are tried."""

HYBRID_CGROUPS = Path("/sys/fs/cgroup/unified")
"""There where a host mixes both versions of cgroups. crun, podman's default, refuses such a host; runc does not."""


class EngineError(Exception):
    """No engine answers, or its command failed; the message has its last lines."""


@dataclass(frozen=True)
class Engine:
    """One engine, which has answered."""

    program: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that each command gets in addition."""

    @property
    def can_run(self) -> bool:
        """Whether it runs containers, too."""
        return self.program != "buildah"

    def call(self, *arguments: str, timeout: float = 600, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine and capture its output.

        Raises `EngineError` if it fails (unless `check` is false) or does not end.
        """
        try:
            done = subprocess.run(
                [self.program, *arguments],
                env=os.environ | dict(self.environment),
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"{self.program} {arguments[0]} did not end within {timeout:g} s") from None
        if check and done.returncode:
            raise EngineError(_told(self.program, arguments, done))
        return done

    def has_image(self, name: str) -> bool:
        """Whether the engine stores an image of this name."""
        return self.call(*self._inspect(), name, check=False).returncode == 0

    def pull(self, name: str, timeout: float = 300) -> bool:
        """Whether a registry gave the image within this time."""
        return self.call("pull", name, timeout=timeout, check=False).returncode == 0

    def image(self, name: str) -> dict[str, Any]:
        """The engine's description of an image."""
        found: Any = json.loads(self.call(*self._inspect(), name).stdout)
        return dict(found[0] if isinstance(found, list) else found)

    def container(self, name: str) -> dict[str, Any]:
        """The engine's description of a container."""
        return dict(json.loads(self.call("container", "inspect", name).stdout)[0])

    def build(self, folder: Path, *options: str, log: Path, timeout: float = 3600) -> None:
        """Build a folder; the output goes to `log`. Raises `EngineError`."""
        command = [self.program, *self._build(), *options, str(folder)]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as sink:
            try:
                done = subprocess.run(
                    command,
                    env=os.environ | dict(self.environment),
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                raise EngineError(f"the build did not end within {timeout:g} s; see {log}") from None
        if done.returncode:
            last = log.read_text("utf-8", "replace").splitlines()[-15:]
            raise EngineError("\n".join([f"{self.program} build failed; the end of {log}:", *last]))

    def build_mounts(self, paths: Sequence[Path]) -> list[str]:
        """Options that mount paths of this machine into a build; docker has none."""
        return [] if self.program == "docker" else [f"--volume={path}:{path}:ro" for path in paths]

    def _inspect(self) -> tuple[str, ...]:
        return ("inspect", "--type", "image") if self.program == "buildah" else ("image", "inspect")

    def _build(self) -> list[str]:
        if self.program == "docker":
            return ["build"]
        # The image format of docker: the other one has no health checks. The host's network: an index or a mirror may
        # listen on loopback.
        options = ["--format=docker", "--layers", "--network=host", "--pull-never"]
        if self.program == "buildah":
            return ["bud", *(["--runtime=runc"] if _needs_runc() else []), *options]
        return ["build", *options]


def find(folder: Path, wanted: str | None = None) -> Engine:
    """The wanted engine, or the first that answers.

    folder: for its configuration file. Raises `EngineError` with the reason for each program.
    """
    reasons = []
    for program in (wanted,) if wanted else PROGRAMS:
        if shutil.which(program) is None:
            reasons.append(f"{program} is not installed")
            continue
        engine = Engine(program, _podman_settings(folder) if program == "podman" else {})
        # Without a daemon, docker's client is there all the same.
        answer = engine.call("info", timeout=60, check=False)
        if answer.returncode == 0 and "Cannot connect" not in answer.stdout:
            return engine
        reasons.append(_told(program, ("info",), answer))
    raise EngineError("no container engine: " + "; ".join(reasons))


def _podman_settings(folder: Path) -> dict[str, str]:
    """Write podman's containers.conf, with limits that this process may give.

    By default podman asks for a million open files and processes. A host without the capability SYS_RESOURCE refuses.
    """
    ulimits = [f"{name}={value}:{value}" for name, value in _limits().items()]
    lines = ["[containers]", f"default_ulimits = {json.dumps(ulimits)}"]
    if _needs_runc():
        lines += ["[engine]", 'runtime = "runc"']
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "containers.conf"
    path.write_text("\n".join([*lines, ""]), encoding="utf-8")
    return {"CONTAINERS_CONF": str(path)}


def _limits() -> dict[str, int]:
    """Open files and processes of a container, at most those of this process."""
    wanted = {"nofile": (resource.RLIMIT_NOFILE, 65536), "nproc": (resource.RLIMIT_NPROC, 4096)}
    hard = {name: resource.getrlimit(number)[1] for name, (number, _) in wanted.items()}
    return {
        name: most if hard[name] == resource.RLIM_INFINITY else min(most, hard[name])
        for name, (_, most) in wanted.items()
    }


def _needs_runc() -> bool:
    return HYBRID_CGROUPS.is_dir() and shutil.which("runc") is not None


def _told(program: str, arguments: Sequence[str], done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return f"{program} {arguments[0]} ended with exit code {done.returncode}: " + "\n".join(lines[-10:])
