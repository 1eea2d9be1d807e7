"""The commands `imgedit catalogue check` and `schema`, run in the orchestrator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from imgedit import installation, output_files
from imgedit.cli.console import (
    Lang,
    err,
    fail,
    fail_with,
    message,
    need_servers,
    plain,
    print_path,
    shown,
    warn,
)
from imgedit.cli.exit_codes import ExitCode
from imgedit.cli.help_layout import Command, Group
from imgedit.client import DEFAULT_TIMEOUT
from imgedit.errors import ImgeditError, SettingsError
from imgedit.local.ports import DEFAULT_BASE_PORT

MODULE = "services.orchestrator.catalogue"

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Check the experiment catalogue before it is used; make experiments.",
)


@app.command(cls=Command)
def check(files: Annotated[list[Path], typer.Argument(help="Catalogue files (YAML).")]) -> None:
    """Check catalogue files as the orchestrator does.

    Prints every fault with its line and field.

    Exit code 0: no fault; 1: a fault.
    """
    _run("check", *map(str, files))


@app.command("import", cls=Command)
def import_(
    file: Annotated[Path, typer.Argument(help="The workflow, saved in API format (JSON).", metavar="WORKFLOW")],
    experiment_id: Annotated[
        str | None,
        typer.Option("--id", help="Id of the experiment: a to z, digits and _. [default: from the file's name]"),
    ] = None,
    save_node: Annotated[
        str | None,
        typer.Option(help="Id of the SaveImage with the result, where several save pictures.", metavar="NODE"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write a new file here. [default: print the YAML]", metavar="FILE")
    ] = None,
    is_checked: Annotated[
        bool,
        typer.Option("--check", help="First edit a sample with the model services that run (`imgedit up`)."),
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="The sample. [default: a scene of the demo, in a checkout]", metavar="FILE"),
    ] = None,
    check_output: Annotated[
        Path | None, typer.Option(help="Also write the edited sample here (PNG).", metavar="FILE")
    ] = None,
    base_port: Annotated[
        int, typer.Option(help="--base-port of the running stack.", min=1, max=65532)
    ] = DEFAULT_BASE_PORT,
    timeout: Annotated[float, typer.Option(help="Longest wait for the sample, in seconds.", min=0.1)] = DEFAULT_TIMEOUT,
    lang: Lang = None,
) -> None:
    """Turn a ComfyUI workflow into an experiment.

    The experiment is printed as YAML, with a comment per decision. Save the workflow in API format: "Workflow > Export
    (API)", in older versions "Save (API Format)". The graph is read backwards from its SaveImage. Nodes become stages.
    Their values (steps, cfg, guidance, denoise, seed, prompts, a LoRA) become the feature's defaults, and ranges are
    widened where necessary. An unsupported node or value is rejected with node, field, value and range, and nothing is
    written.

    Example: imgedit catalogue import workflow_api.json --id my_gym --out my_gym.yaml --check
    Then: IMGEDIT_ORCHESTRATOR_EXPERIMENTS=my_gym.yaml imgedit up, and imgedit edit PHOTO --experiment my_gym

    Exit code 0: done; 1: rejected, or the sample failed; 4: --check lacks a service that it needs.
    """
    need_servers()
    if not is_checked and (picture or check_output):
        fail("--picture and --check-output need --check")
    for path in filter(None, (out, check_output)):
        _check_new(path)
    text = _imported(file, experiment_id, save_node)
    if is_checked:
        _try(text, picture, base_port, timeout, check_output)
    if out is None:
        print(text, end="")
        return
    _write(out, text.encode())
    print_path(out)


@app.command(cls=Command)
def schema() -> None:
    """Print the JSON Schema of a catalogue file, for YAML editors."""
    _run("schema")


def _run(*arguments: str) -> None:
    need_servers()
    environment = {**installation.environment(), "PYTHONIOENCODING": f"{sys.stdout.encoding}:backslashreplace"}
    done = subprocess.run([sys.executable, "-m", MODULE, *arguments], env=environment, check=False)
    raise typer.Exit(done.returncode)


def _imported(file: Path, experiment_id: str | None, save_node: str | None) -> str:
    """The YAML; the command ends here where the workflow is refused."""
    given = {"--id": experiment_id, "--save-node": save_node}
    options = [f"{name}={value}" for name, value in given.items() if value is not None]
    done = subprocess.run(
        [sys.executable, "-m", MODULE, "import", *options, "--", str(file)],
        env={**installation.environment(), "PYTHONIOENCODING": "utf-8:surrogateescape"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        check=False,
    )
    for fault in done.stderr.splitlines():
        err.print(f"[red]error:[/] {plain(shown(fault))}", highlight=False, soft_wrap=True)
    if done.returncode:
        raise typer.Exit(ExitCode.FAILED)
    return done.stdout


def _try(text: str, picture: Path | None, base_port: int, timeout: float, check_output: Path | None) -> None:
    """Edit the sample; the command ends here where that fails."""
    # NumPy and Pillow take a quarter of a second, which no other command should wait for.
    from imgedit.cli import catalogue_trial

    try:
        found = catalogue_trial.run_trial(text, picture or catalogue_trial.SAMPLE, base_port, timeout)
    except SettingsError as error:
        fail(error.message)
    except ImgeditError as error:
        fail_with(error)
    except OSError as error:
        fail(f"--picture: {message(error)}")
    result = found.result
    stages = ", ".join(f"{timing.name} {timing.seconds:.2f} s" for timing in result.stage_timings)
    size, seconds = f"{result.width}x{result.height}", f"{result.elapsed_time:.2f} s"
    err.print(f"checked with {escape(str(picture))}: {size} · {seconds} ({stages})", soft_wrap=True)
    for warning in result.warnings:
        warn(warning)
    if check_output is not None:
        _write(check_output, result.output_image)


def _check_new(path: Path) -> None:
    """End before any work where a file could not be written, or is there."""
    if path.exists() or path.is_symlink():
        fail(f"{path} is there already, and nothing is written over; name another file")
    try:
        output_files.check_output(path)
    except OSError as error:
        fail(f"cannot write {message(error)}")


def _write(path: Path, data: bytes) -> None:
    try:
        output_files.write_or_keep(path, data)
    except OSError as error:
        fail(f"cannot write {message(error)}")
