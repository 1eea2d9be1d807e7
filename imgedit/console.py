"""Where the commands write: results to standard output, everything about them to standard error."""

from __future__ import annotations

import os
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from imgedit.errors import ImgeditError

out = Console()
err = Console(stderr=True)

Language = Literal["en", "ko"]

Lang = Annotated[
    Language | None, typer.Option(help="Language of error messages. [default: ko where LANG says so, else en]")
]


def language(chosen: Language | None) -> Language:
    """The language of messages: as chosen, else that of the environment."""
    return chosen or ("ko" if os.environ.get("LANG", "").startswith("ko") else "en")


def message(error: ImgeditError | OSError, lang: Language) -> str:
    """What went wrong, in the language of the reader."""
    if isinstance(error, ImgeditError):
        return error.korean if lang == "ko" else error.message
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def fail(text: str) -> NoReturn:
    """Print an error and end with exit code 1."""
    err.print(f"[red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


def fail_with(error: ImgeditError, lang: Language) -> NoReturn:
    """Print an error of the server, with what finds it in its log, and end with exit code 1.

    The English message names field, value and range, so it is there in Korean too.
    """
    err.print(f"[red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
    if lang == "ko":
        err.print(f"[red]오류:[/] {escape(error.korean)}", highlight=False, soft_wrap=True)
    details = [f"{error.code.name} {error.reason}"]
    if error.retry_after_seconds is not None:
        details.append(f"retry after {error.retry_after_seconds:g} s")
    if error.request_id:
        details.append(f"request id {error.request_id}")
    err.print(" · ".join(details), style="dim", highlight=False)
    raise typer.Exit(1)
