"""The command `imgedit`: run the services on this machine, and call them.

Files become bytes here and bytes become files; all else is the client's and the servers' work.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from imgedit import catalogue_cli, hangup, inspect_cli, models_cli, tokens_cli
from imgedit import stack as stacks
from imgedit.client import DEFAULT_TIMEOUT
from imgedit.connection import Connect, connecting
from imgedit.errors import ImgeditError, SettingsError
from imgedit.ports import (
    DEFAULT_BASE_PORT,
    DEFAULT_GATEWAY_PORT,
    DEFAULT_METRICS_BASE_PORT,
    MAX_REPLICAS,
    SERVICES,
    Ports,
)
from imgedit.request import Profile
from imgedit.v1 import edit_pb2

TINY_MODELS = Path("build/models-tiny")
TINY_WORK_PIXELS = 512 * 512
FORMATS: dict[str, edit_pb2.OutputFormat] = {
    ".png": edit_pb2.OUTPUT_FORMAT_PNG,
    ".jpg": edit_pb2.OUTPUT_FORMAT_JPEG,
    ".jpeg": edit_pb2.OUTPUT_FORMAT_JPEG,
    ".webp": edit_pb2.OUTPUT_FORMAT_WEBP,
}
"""What the ending of a result's name asks the server for."""

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Image editing with BEN2, FLUX.1-Fill and Qwen-Image-Edit. Start the services with `imgedit up`, then edit "
    "with `imgedit edit`; `imgedit experiments` lists what there is.",
)
app.add_typer(models_cli.app, name="models")
app.add_typer(catalogue_cli.app, name="catalogue")
app.add_typer(tokens_cli.app, name="tokens")
app.command()(inspect_cli.inspect)
out = Console()
err = Console(stderr=True)


@app.command()
def up(
    models: Annotated[
        Path | None,
        typer.Option(
            help="Folder that holds BEN2, FLUX.1-Fill-dev and Qwen-Image-Edit-2509. Left out: tiny checkpoints with "
            "random weights are made; they paint noise and show that everything works.",
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
        typer.Option(help="Most pixels that a model is sent. [default: 1048576; 262144 with the tiny checkpoints]"),
    ] = None,
    replicas: Annotated[
        list[str] | None,
        typer.Option(help="Run several of a service, balanced by Envoy: fill=2. May be given for each.", metavar="N=K"),
    ] = None,
    gateway: Annotated[
        bool, typer.Option("--gateway", help="Also run the REST and gRPC edge (Envoy) on --gateway-port.")
    ] = False,
    gateway_port: Annotated[int, typer.Option(help="Port of the edge.", min=1, max=65535)] = DEFAULT_GATEWAY_PORT,
    tokens: Annotated[
        Path | None,
        typer.Option(help="File of API tokens, made by `imgedit tokens new`; callers then need one. [default: none]"),
    ] = None,
    logs: Annotated[Path, typer.Option(help="Folder for the services' logs.")] = Path("build/logs"),
) -> None:
    """Run all services on this machine until Ctrl-C.

    SIGHUP has the orchestrator read its catalogue again; it ends everything where the terminal has closed.
    """
    if models is None:
        models = _tiny_models()
        work_pixels = work_pixels or TINY_WORK_PIXELS
    if metrics_base_port is None:
        is_default = base_port == DEFAULT_BASE_PORT
        metrics_base_port = DEFAULT_METRICS_BASE_PORT if is_default else base_port + 100
    if not models.is_dir():
        _fail(f"--models: there is no folder {models}")
    ports = Ports(base_port, metrics_base_port, _replicas(replicas or []), gateway_port if gateway else None)
    environment = stacks.environment_of(ports, models, max_work_pixels=work_pixels)
    if tokens is not None:
        if not tokens.is_file():
            _fail(f"--tokens: there is no file {tokens}")
        environment |= stacks.credentials_of(tokens)
    stack = stacks.Stack(ports, logs, environment)
    # SIGINT too: a shell that starts a job in the background has it ignored.
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, _interrupt)
    signal.signal(signal.SIGHUP, partial(_on_hangup, hangup.Terminal(), stack))
    try:
        stack.start()
        with out.status("loading models …") as status:
            for name in stack.wait_until_serving():
                out.print(f"[green]SERVING[/] {name:13} {stack.address(name)}")
                status.update("loading models …")
        out.print(f"metrics: http://127.0.0.1:{ports.metrics_base}/metrics and the next three · logs: {logs}")
        example = "imgedit edit PHOTO --experiment ben2_flux_fill --prompt 'a gym'"
        if gateway:
            out.print(f"REST: http://127.0.0.1:{gateway_port}/api/edit_with_comfyui · described by /openapi.json")
        out.print(f"[bold]ready[/] – edit with: {example}", soft_wrap=True)
        out.print("end with Ctrl-C")
        while True:
            for message in stack.tend():
                err.print(f"[yellow]{message}[/]")
            time.sleep(0.5)
    except (stacks.StackError, SettingsError) as error:
        stack.stop()
        _fail(str(error))
    except KeyboardInterrupt:
        out.print("stopping …")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    finally:
        stack.stop()
    out.print("stopped")


@app.command()
@connecting
def edit(
    connect: Connect,
    image: Annotated[Path, typer.Argument(help="The picture: PNG, JPEG or WebP.")],
    experiment: Annotated[str, typer.Option("--experiment", "-e", help="Id of the experiment.")],
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="What to do. Needed by every experiment that paints.")
    ] = None,
    feature: Annotated[
        str | None, typer.Option("--feature", "-f", help="Id of the feature. [default: the experiment's first]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Result file; its ending chooses the format. [default: NAME.edited.png]"),
    ] = None,
    cutout: Annotated[Path | None, typer.Option(help="Also write the subject without background here (PNG).")] = None,
    mask_output: Annotated[Path | None, typer.Option(help="Also write the weight of the composite here (PNG).")] = None,
    negative_prompt: Annotated[str | None, typer.Option(help="What to avoid.")] = None,
    negative_scale: Annotated[float | None, typer.Option(help="Weight of the negative prompt (FLUX).")] = None,
    steps: Annotated[int | None, typer.Option(help="Denoise steps, 10 to 50.")] = None,
    guidance_scale: Annotated[
        float | None,
        typer.Option("--guidance-scale", "--guidance", help="How strongly the prompt is followed, 1 to 15."),
    ] = None,
    strength: Annotated[float | None, typer.Option(help="How far from the picture, 0.0 to 1.0.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="The same seed gives the same picture.", min=0, max=2**32 - 1)
    ] = None,
    profile: Annotated[Profile | None, typer.Option(help="Speed against quality. [default: balanced]")] = None,
    postprocess: Annotated[bool, typer.Option(help="Match the painted region's tone to its surroundings.")] = True,
    quality: Annotated[
        int | None,
        typer.Option(help="Quality of a JPEG (default 95) or WebP (default lossless), 1 to 100.", min=1, max=100),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="What to repaint, white, at the picture's size. [default: found by BEN2]")
    ] = None,
    reference: Annotated[list[Path] | None, typer.Option(help="A reference picture; may be given twice.")] = None,
    left: Annotated[int, typer.Option(help="Extend to the left by so many pixels.")] = 0,
    right: Annotated[int, typer.Option(help="Extend to the right by so many pixels.")] = 0,
    top: Annotated[int, typer.Option(help="Extend at the top by so many pixels.")] = 0,
    bottom: Annotated[int, typer.Option(help="Extend at the bottom by so many pixels.")] = 0,
    aspect: Annotated[str | None, typer.Option(help="Extend to this aspect, for instance 16:9.")] = None,
    timeout: Annotated[float, typer.Option(help="Longest wait, in seconds.", min=0.1)] = DEFAULT_TIMEOUT,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Edit one picture."""
    output = output or image.with_name(f"{image.stem}.edited.png")
    if output.suffix.lower() not in FORMATS:
        _fail(f"cannot write {output}: the name must end in {', '.join(FORMATS)}")
    for path in (cutout, mask_output):
        if path and path.suffix.lower() != ".png":
            _fail(f"cannot write {path}: cut-out and mask are PNG files, so the name must end in .png")
    for path in (image, *([mask] if mask else []), *(reference or [])):
        if not path.is_file():
            _fail(f"there is no file {path}")
    with connect() as client, _bar(quiet) as bar:
        task = bar.add_task("sending", total=None, detail="")
        try:
            answer = client.edit(
                image,
                experiment=experiment,
                prompt=prompt,
                feature=feature,
                negative_prompt=negative_prompt,
                negative_scale=negative_scale,
                steps=steps,
                guidance_scale=guidance_scale,
                strength=strength,
                seed=seed,
                profile=profile,
                postprocess=postprocess,
                mask=mask,
                outpaint=_outpaint(left, right, top, bottom, aspect),
                references=reference or (),
                output=_output_options(output, quality, has_cutout=bool(cutout), has_mask=bool(mask_output)),
                timeout=timeout,
                on_event=lambda event: _show(bar, task, event),
            )
        except ImgeditError as error:
            bar.stop()
            _fail_with(error)
    _write(output, answer.output_image)
    if cutout and answer.background_removed_image:
        _write(cutout, answer.background_removed_image)
    if mask_output:
        _write(mask_output, answer.mask_image)
    for warning in answer.warnings:
        err.print(f"[yellow]warning:[/] {escape(warning)}")
    timings = ", ".join(f"{timing.name} {timing.seconds:.2f} s" for timing in answer.stage_timings)
    summary = f"seed {answer.seed} · {answer.width}x{answer.height} · {answer.elapsed_time:.2f} s ({timings})"
    err.print(summary, soft_wrap=True)
    print(output)


@app.command()
@connecting
def experiments(connect: Connect) -> None:
    """List the experiments, their features and parameters."""
    with connect() as client:
        try:
            found = client.experiments()
        except ImgeditError as error:
            _fail_with(error)
    for experiment in found:
        out.print(f"[bold]{experiment.id}[/]  {experiment.name} – {experiment.description}")
        table = Table("feature", "name", "parameter", "default", "range", "recommended")
        table.columns[0].no_wrap = table.columns[2].no_wrap = True
        for feature in experiment.features:
            for index, spec in enumerate(feature.parameters):
                first = (feature.id, feature.name) if index == 0 else ("", "")
                table.add_row(*first, *_row(spec))
            table.add_section()
        out.print(table)


@app.command()
def health(
    wait: Annotated[float, typer.Option(help="Wait so many seconds for all services to serve.", min=0)] = 0,
    base_port: Annotated[int, typer.Option(help="Port of the orchestrator.")] = DEFAULT_BASE_PORT,
) -> None:
    """Show whether each service on this machine serves; exit code 0 if all do, else 1."""
    ports = Ports(base_port)
    deadline = time.monotonic() + wait
    while True:
        states = {service: stacks.is_serving(ports.address(service)) for service in SERVICES}
        if all(states.values()) or time.monotonic() >= deadline:
            break
        time.sleep(0.3)
    for service, serving in states.items():
        state = "[green]SERVING[/]" if serving else "[red]NOT SERVING[/]"
        out.print(f"{service:13} {ports.address(service):16} {state}")
    raise typer.Exit(0 if all(states.values()) else 1)


def _replicas(wanted: list[str]) -> dict[str, int]:
    """`fill=2` and the like as numbers."""
    found = {}
    for text in wanted:
        service, _, count = text.partition("=")
        if service not in SERVICES or not count.isdecimal() or not 1 <= int(count) <= MAX_REPLICAS:
            names = ", ".join(SERVICES)
            _fail(f"--replicas {text}: must be SERVICE=K, the service one of {names} and K 1 to {MAX_REPLICAS}")
        found[service] = int(count)
    return found


def _tiny_models() -> Path:
    """Make the tiny checkpoints, where they are not there yet, and say plainly what they are."""
    err.print(
        f"[yellow]no --models given: using tiny checkpoints with random weights in {TINY_MODELS}. "
        "They paint noise; pass --models DIR for real weights.[/]"
    )
    made = subprocess.run([sys.executable, "-m", "demo.tiny", "--out", str(TINY_MODELS)], check=False)
    if made.returncode != 0:
        _fail("the tiny checkpoints could not be made; run from a checkout of the project, or pass --models DIR")
    return TINY_MODELS


def _outpaint(left: int, right: int, top: int, bottom: int, aspect: str | None) -> edit_pb2.Outpaint | None:
    if not any((left, right, top, bottom, aspect)):
        return None
    return edit_pb2.Outpaint(left=left, right=right, top=top, bottom=bottom, aspect=aspect)


def _bar(quiet: bool) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[detail]}"),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=quiet,
    )


def _show(bar: Progress, task: TaskID, event: edit_pb2.EditEvent) -> None:
    """Put one report on the bar: the stage and its place, then its steps."""
    match event.WhichOneof("event"):
        case "stage":
            stage = event.stage
            bar.update(task, description=f"{stage.index}/{stage.count} {stage.name}", total=None, detail="")
        case "queued":
            bar.update(task, detail=f"waiting, {event.queued.position} before")
        case "progress":
            progress = event.progress
            left = f", {progress.eta_seconds:.0f} s left" if progress.HasField("eta_seconds") else ""
            bar.update(
                task,
                completed=progress.step,
                total=progress.steps,
                detail=f"step {progress.step}/{progress.steps}{left}",
            )


def _output_options(path: Path, quality: int | None, *, has_cutout: bool, has_mask: bool) -> edit_pb2.OutputOptions:
    """What the files to write ask of the answer: their format, and nothing that would not be written."""
    wanted = {edit_pb2.OUTPUT_OMIT_CUTOUT: has_cutout, edit_pb2.OUTPUT_OMIT_MASK: has_mask}
    omit = [what for what, is_wanted in wanted.items() if not is_wanted]
    return edit_pb2.OutputOptions(format=FORMATS[path.suffix.lower()], quality=quality, omit=omit)


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _row(spec: edit_pb2.ParameterSpec) -> tuple[str, str, str, str]:
    default = ""
    if spec.HasField("default"):
        value = spec.default
        default = f"{value.number_value:g}" if value.HasField("number_value") else value.string_value
    recommended = f"{spec.recommended_min:g} – {spec.recommended_max:g}" if spec.HasField("recommended_min") else ""
    return (
        spec.name + (" *" if spec.required else ""),
        default,
        f"{_number(spec.min)} – {_number(spec.max)}",
        recommended,
    )


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else f"{value:g}"


def _fail_with(error: ImgeditError) -> None:
    err.print(f"[red]error:[/] {escape(error.message)}", highlight=False)
    if os.environ.get("LANG", "").startswith("ko"):
        err.print(f"[red]오류:[/] {escape(error.korean)}", highlight=False)
    details = [f"{error.code.name} {error.reason}"]
    if error.retry_after_seconds is not None:
        details.append(f"retry after {error.retry_after_seconds:g} s")
    if error.request_id:
        details.append(f"request id {error.request_id}")
    err.print(" · ".join(details), style="dim", highlight=False)
    raise typer.Exit(1)


def _fail(message: str) -> None:
    err.print(f"[red]error:[/] {escape(message)}", highlight=False)
    raise typer.Exit(1)


def _on_hangup(terminal: hangup.Terminal, stack: stacks.Stack, signum: int, frame: FrameType | None) -> None:
    if terminal.is_gone():
        _interrupt(signum, frame)
    stack.reload()


def _interrupt(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    app()
