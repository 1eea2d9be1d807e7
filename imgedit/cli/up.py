"""`imgedit up`: all services on this machine, watched over until Ctrl-C."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from imgedit import sighup
from imgedit.cli.console import err, fail, need_servers, out
from imgedit.errors import SettingsError
from imgedit.local import supervisor as stacks
from imgedit.local.ports import (
    DEFAULT_BASE_PORT,
    DEFAULT_GATEWAY_PORT,
    DEFAULT_METRICS_BASE_PORT,
    DEFAULT_STUDIO_PORT,
    MAX_REPLICAS,
    Ports,
)
from imgedit.local.services import SERVICES

SAMPLES = Path("demo/samples")
"""Pictures that the page offers, in a checkout of the project."""


def up(
    models: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509. Left out: the demo's "
            "small checkpoints of a checkout, which know drawn scenes only.",
            envvar="IMGEDIT_MODELS",
        ),
    ] = None,
    base_port: Annotated[
        int, typer.Option(help="Port of the orchestrator; the model services take the next three.", min=1, max=65532)
    ] = DEFAULT_BASE_PORT,
    metrics_base_port: Annotated[
        int | None, typer.Option(help="First of four ports for /metrics. [default: 9101, or base port + 100]")
    ] = None,
    work_pixels: Annotated[
        int | None,
        typer.Option(help="Most pixels that a model is sent. [default: 1048576; 65536 with the demo's checkpoints]"),
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(help="Run several of a service, balanced by Envoy: fill=2. May be given for each.", metavar="N=K"),
    ] = None,
    gateway: Annotated[
        bool,
        typer.Option("--gateway", help="Also run the edge (Envoy: REST, gRPC, OpenAI's image API) on --gateway-port."),
    ] = False,
    gateway_port: Annotated[
        int, typer.Option(help="Port of the edge; the next one is OpenAI's API behind it.", min=1, max=65534)
    ] = DEFAULT_GATEWAY_PORT,
    studio: Annotated[bool, typer.Option("--studio", help="Also run the page for people on --studio-port.")] = False,
    studio_port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = DEFAULT_STUDIO_PORT,
    tokens: Annotated[
        Path | None,
        typer.Option(help="File of API tokens, made by `imgedit tokens new`; callers then need one. [default: none]"),
    ] = None,
    logs: Annotated[Path, typer.Option(help="Folder for the services' logs.")] = Path("build/logs"),
) -> None:
    """Run all services on this machine until Ctrl-C.

    SIGHUP has the orchestrator read its catalogue again; it ends everything where the terminal has closed.
    """
    need_servers()
    if metrics_base_port is None:
        is_default = base_port == DEFAULT_BASE_PORT
        metrics_base_port = DEFAULT_METRICS_BASE_PORT if is_default else base_port + 100
    ports = Ports(
        base_port,
        metrics_base_port,
        _replicas(replicas or []),
        gateway=gateway_port if gateway else None,
        studio=studio_port if studio else None,
    )
    try:
        ports.check()
    except ValueError as error:
        fail(str(error))
    environment = _environment(ports, models, work_pixels) | _credentials(tokens)
    if studio and SAMPLES.is_dir() and "IMGEDIT_STUDIO_SAMPLES" not in os.environ:
        environment["IMGEDIT_STUDIO_SAMPLES"] = str(SAMPLES.resolve())
    stack = stacks.Stack(ports, logs, environment)
    # SIGINT too: a shell that starts a job in the background has it ignored.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    signal.signal(signal.SIGHUP, partial(_on_hangup, sighup.Terminal(), stack))
    try:
        _start(stack)
        _say_where(ports, logs)
        while True:
            for message in stack.tend():
                err.print(f"[yellow]{message}[/]")
            time.sleep(0.5)
    except (stacks.StackError, SettingsError) as error:
        stack.stop()
        fail(str(error))
    except KeyboardInterrupt:
        out.print("stopping …")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        stack.stop()
    out.print("stopped")


def _start(stack: stacks.Stack) -> None:
    """Start all and name each when it serves."""
    stack.start()
    with out.status("loading models …") as status:
        for name in stack.wait_until_serving(on_wait=lambda reasons: out.print(escape(f"waiting for {reasons}"))):
            out.print(f"[green]SERVING[/] {name:13} {stack.address(name)}")
            status.update("loading models …")


def _say_where(ports: Ports, logs: Path) -> None:
    """Print the addresses, and what to do next."""
    out.print(f"metrics: http://127.0.0.1:{ports.metrics_base}/metrics and the next three · logs: {logs}")
    if ports.gateway is not None:
        out.print(f"REST: http://127.0.0.1:{ports.gateway}/api/edit_with_comfyui · described by /openapi.json")
        out.print(f"OpenAI's image API: http://127.0.0.1:{ports.gateway}/v1")
    if ports.studio is not None:
        out.print(f"page: http://127.0.0.1:{ports.studio}")
    example = "imgedit edit PHOTO --experiment ben2_flux_fill --prompt 'a gym'"
    out.print(f"[bold]ready[/] – edit with: {example}", soft_wrap=True)
    out.print("end with Ctrl-C")


def _environment(ports: Ports, models: Path | None, work_pixels: int | None) -> dict[str, str]:
    """The environment of the services for the models.

    Without a folder, print that the demo checkpoints are used.
    """
    if models is not None:
        if not models.is_dir():
            fail(f"--models: there is no folder {models}")
        return stacks.environment_of(ports, models, max_work_pixels=work_pixels)
    if not stacks.DEMO_MODELS.is_dir():
        fail("no --models given, and the demo's checkpoints are not here: run from a checkout, or pass --models DIR")
    err.print(
        f"[yellow]no --models given: using the demo's small checkpoints in {stacks.DEMO_MODELS}. They know "
        "drawn scenes like those in demo/samples and nothing else. Pass --models DIR for photographs.[/]"
    )
    return stacks.demo_environment_of(ports, max_work_pixels=work_pixels or stacks.DEMO_WORK_PIXELS)


def _credentials(tokens: Path | None) -> dict[str, str]:
    if tokens is None:
        return {}
    if not tokens.is_file():
        fail(f"--tokens: there is no file {tokens}")
    return stacks.credentials_of(tokens)


def _replicas(wanted: list[str]) -> dict[str, int]:
    """`fill=2` and the like as numbers."""
    found = {}
    for text in wanted:
        service, _, count = text.partition("=")
        if service not in SERVICES or not count.isdecimal() or not 1 <= int(count) <= MAX_REPLICAS:
            names = ", ".join(SERVICES)
            fail(f"--replicas {text}: must be SERVICE=K, the service one of {names} and K 1 to {MAX_REPLICAS}")
        found[service] = int(count)
    return found


def _on_hangup(terminal: sighup.Terminal, stack: stacks.Stack, signum: int, frame: FrameType | None) -> None:
    if terminal.is_gone():
        _interrupt(signum, frame)
    stack.reload()


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
