"""The command `imgedit tokens new`: words for what `tokens` does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from imgedit import tokens
from imgedit.cli.console import err, fail
from imgedit.cli.layout import Command, Group
from imgedit.errors import SettingsError

app = typer.Typer(
    cls=Group,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Make the tokens by which callers of the public API are known.",
)


@app.callback()
def group() -> None:
    """Keeps `new` a subcommand while it is the only one."""


@app.command(cls=Command)
def new(
    name: Annotated[str, typer.Option(help="The caller's name, shown in the logs.")],
    scope: Annotated[list[str], typer.Option(help="edit, list or admin; may be given several times.")],
    append: Annotated[
        Path | None, typer.Option(help="Add the line to this file of tokens, which is made where it is not there.")
    ] = None,
) -> None:
    """Make a token.

    It is printed once and kept nowhere; servers are given the line with its hash.

    The first line of the output is the token. Without --append the second one is the line for the file of tokens.
    """
    try:
        token, credential = tokens.make(name, scope)
        if append:
            _append(append, credential.line)
    except (SettingsError, OSError) as error:
        fail(str(error))
    print(token)
    if not append:
        print(credential.line)
    err.print("Give the token to its user; it cannot be shown again.", style="dim")


def _append(path: Path, line: str) -> None:
    """Add a line to a file that its owner alone may read."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+", encoding="utf-8") as file:
        before = file.read()
        file.write(("" if before.endswith("\n") or not before else "\n") + line + "\n")
