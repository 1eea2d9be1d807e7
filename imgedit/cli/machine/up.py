"""`imgedit up`: run and supervise all services on this machine.

Ctrl-C or `imgedit stop` ends them.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.markup import escape

from imgedit import sighup
from imgedit.cli.console import err, fail, need_file, need_folder, need_servers, out, say
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.machine import background
from imgedit.errors import SettingsError
from imgedit.local import catalogue_models, devices, running
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
            help="Folder that holds BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509. Without it, each `path` of the "
            "catalogue named by IMGEDIT_ORCHESTRATOR_EXPERIMENTS, else a checkout's small demo checkpoints, which "
            "know drawn scenes only.",
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
        typer.Option(help="Maximum pixels sent to a model. [default: 1048576; 65536 with the demo's checkpoints]"),
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(help="Replicas of a service, balanced by Envoy, such as fill=2. Repeatable.", metavar="N=K"),
    ] = None,
    gateway: Annotated[
        bool,
        typer.Option("--gateway", help="Also run the edge (Envoy: REST, gRPC, OpenAI's image API) on --gateway-port."),
    ] = False,
    gateway_port: Annotated[
        int, typer.Option(help="Port of the edge; the next one is OpenAI's API behind it.", min=1, max=65534)
    ] = DEFAULT_GATEWAY_PORT,
    studio: Annotated[bool, typer.Option("--studio", help="Also run the web page on --studio-port.")] = False,
    studio_port: Annotated[int, typer.Option(help="Port of the page.", min=1, max=65535)] = DEFAULT_STUDIO_PORT,
    tokens: Annotated[
        Path | None,
        typer.Option(
            help="File of API tokens, made by `imgedit tokens new`; callers then need a token. [default: none]"
        ),
    ] = None,
    logs: Annotated[
        Path, typer.Option(help="Folder for the services' logs. Each is kept to 5 files of 20 MiB.", metavar="DIR")
    ] = Path("build/logs"),
    detach: Annotated[
        bool,
        typer.Option("--detach", "-d", help="Return when all services serve; they run on until `imgedit stop`."),
    ] = False,
) -> None:
    """Run all services on this machine until Ctrl-C.

    `imgedit status` shows the services, and `imgedit stop` ends them from another terminal. SIGHUP reloads the
    orchestrator's catalogue; if the terminal has closed, it ends everything.
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
    if studio:
        environment["IMGEDIT_STUDIO_GALLERY"] = gallery_folder(os.environ)
    places = devices.placed(ports, devices.gpus(), {**os.environ, **environment})
    if places:
        listed = ", ".join(f"{name} {device}" for name, device in places.items())
        out.print(f"GPUs in turn, the large models first: {listed}", highlight=False, soft_wrap=True)
    stack = stacks.Stack(ports, logs, environment, places)
    if not detach:
        raise typer.Exit(_run(stack, background.FOREGROUND))
    process = background.fork(logs / "up.log")
    if process.is_child:
        raise typer.Exit(_run(stack, process))
    code = background.follow(process, out)
    if code is not None:
        raise typer.Exit(code)
    out.print(say("running in the background; `imgedit status` shows it, `imgedit stop` ends it"), soft_wrap=True)


def _run(stack: stacks.Stack, process: background.Process) -> ExitCode:
    """Start everything and supervise it until it must end."""
    # SIGINT too: a shell that starts a job in the background has it ignored.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    signal.signal(signal.SIGHUP, partial(_on_sighup, sighup.Terminal(), stack))
    record = running.Record(stack.ports.base, os.getpid(), time.time(), str(stack.logs.resolve()))
    try:
        with running.held_record(record) as held:
            _start(stack, held)
            _say_where(stack.ports, stack.logs, is_detached=process.is_child)
            process.let_go()
            while True:
                for message in stack.tend():
                    err.print(f"{_now()} [yellow]{escape(message)}[/]", highlight=False, soft_wrap=True)
                time.sleep(0.5)
    except (stacks.StackError, SettingsError, running.InUse, OSError) as error:
        _stop(stack)
        fail(str(error))
    except KeyboardInterrupt:
        out.print(say("stopping …"))
    finally:
        _stop(stack)
    out.print(say("stopped"))
    return ExitCode.DONE


def _stop(stack: stacks.Stack) -> None:
    """End everything, whatever the terminal still sends."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    stack.stop()


def _now() -> str:
    return f"{datetime.now(UTC).isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"


def _start(stack: stacks.Stack, held: running.Held) -> None:
    """Start all and name each when it serves."""
    stack.start()
    held.write(replace(held.record, programs=stack.addresses, ready_at=stack.ready_at))
    with out.status("loading models …") as status:
        for name in stack.wait_until_serving(on_wait=lambda reasons: out.print(escape(f"waiting for {reasons}"))):
            out.print(f"[green]SERVING[/] {name:13} {stack.address(name)}")
            status.update("loading models …")
    held.write(replace(held.record, ready=True))


def gallery_folder(environment: Mapping[str, str]) -> str:
    """The folder of the page's gallery; "" = off.

    The setting's, else one in the user's data folder. `python -m studio` alone has no such default.
    """
    if (chosen := environment.get("IMGEDIT_STUDIO_GALLERY")) is not None:
        return chosen
    try:
        data = environment.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    except RuntimeError:  # a user without a home
        return ""
    return str(Path(data) / "imgedit" / "gallery")


def _say_where(ports: Ports, logs: Path, *, is_detached: bool) -> None:
    """Print the addresses, and an example."""
    out.print(f"metrics: http://127.0.0.1:{ports.metrics_base}/metrics and the next three · logs: {logs}")
    if ports.gateway is not None:
        out.print(f"REST: http://127.0.0.1:{ports.gateway}/api/edit_with_comfyui · described by /openapi.json")
        out.print(f"OpenAI's image API: http://127.0.0.1:{ports.gateway}/v1")
    if ports.studio is not None:
        out.print(f"page: http://127.0.0.1:{ports.studio}")
        if folder := gallery_folder(os.environ):
            out.print(f"its gallery: {escape(folder)} · IMGEDIT_STUDIO_GALLERY= turns it off", soft_wrap=True)
    example = "imgedit edit PHOTO --experiment ben2_flux_fill --prompt 'a gym'"
    out.print(f"[bold]ready[/] – edit with: {example}", soft_wrap=True)
    if not is_detached:
        out.print(say("end with Ctrl-C"))


def _environment(ports: Ports, models: Path | None, work_pixels: int | None) -> dict[str, str]:
    """The environment of the services for the models.

    Without a folder, print that the demo checkpoints are used.
    """
    if models is not None:
        need_folder(models, "--models")
        return stacks.environment_of(ports, models, max_work_pixels=work_pixels)
    try:
        of_catalogue = catalogue_models.settings_of()
    except SettingsError as error:
        fail(str(error))
    if of_catalogue:
        listed = ", ".join(f"{name}={value}" for name, value in of_catalogue.items())
        out.print(say("models as the catalogue says: {listed}", listed=escape(listed)), highlight=False, soft_wrap=True)
        return stacks.environment_of(ports, None, max_work_pixels=work_pixels) | of_catalogue
    if not stacks.DEMO_MODELS.is_dir():
        fail(
            say("no --models given, and the demo's checkpoints are not here: run from a checkout, or pass --models DIR")
        )
    err.print(
        f"[yellow]no --models given: using the demo's small checkpoints in {stacks.DEMO_MODELS}. They know "
        "drawn scenes like those in demo/samples and nothing else. Pass --models DIR for photographs.[/]"
    )
    return stacks.demo_environment_of(ports, max_work_pixels=work_pixels or stacks.DEMO_WORK_PIXELS)


def _credentials(tokens: Path | None) -> dict[str, str]:
    if tokens is None:
        return {}
    need_file(tokens)
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


def _on_sighup(terminal: sighup.Terminal, stack: stacks.Stack, signum: int, frame: FrameType | None) -> None:
    if terminal.is_gone():
        _interrupt(signum, frame)
    stack.reload()


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
