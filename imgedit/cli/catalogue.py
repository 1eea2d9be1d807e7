"""The commands `imgedit catalogue check` and `schema`, run in the orchestrator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from imgedit import installation
from imgedit.cli.console import need_servers

MODULE = "services.orchestrator.catalogue"

app = typer.Typer(no_args_is_help=True, help="Check the experiment catalogue before it is used.")


@app.command()
def check(files: Annotated[list[Path], typer.Argument(help="Catalogue files (YAML).", metavar="FILE...")]) -> None:
    """Check catalogue files as the orchestrator does.

    Every fault is printed with its line and field.

    Exit code 0: no fault; 1: a fault.
    """
    _run("check", *map(str, files))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a catalogue file, for YAML editors."""
    _run("schema")


def _run(*arguments: str) -> None:
    need_servers()
    environment = {**installation.environment(), "PYTHONIOENCODING": f"{sys.stdout.encoding}:backslashreplace"}
    done = subprocess.run([sys.executable, "-m", MODULE, *arguments], env=environment, check=False)
    raise typer.Exit(done.returncode)
