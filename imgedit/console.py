"""Where the commands write: results to standard output, everything about them to standard error."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from imgedit import exit_codes
from imgedit.errors import ImgeditError
from imgedit.exit_codes import ExitCode

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


def print_json(content: Any) -> None:
    """One JSON document on standard output, on one line, whatever the terminal's width."""
    print(json.dumps(content, ensure_ascii=False))


def fail(text: str, *, as_json: bool = False) -> NoReturn:
    """Print an error and end with exit code 1."""
    if as_json:
        print_json({"error": {"message": text}})
    err.print(f"[red]error:[/] {escape(text)}", highlight=False, soft_wrap=True)
    raise typer.Exit(ExitCode.FAILED)


def fail_with(error: ImgeditError, lang: Language, *, as_json: bool = False) -> NoReturn:
    """Print an error of the server, with what finds it in its log, and end with the exit code that fits it.

    The English message names field, value and range, so it is there in Korean too.
    """
    if as_json:
        print_json({"error": described(error)})
    err.print(f"[red]error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
    if lang == "ko":
        err.print(f"[red]오류:[/] {escape(error.korean)}", highlight=False, soft_wrap=True)
    details = [f"{error.code.name} {error.reason}"]
    if error.retry_after_seconds is not None:
        details.append(f"retry after {error.retry_after_seconds:g} s")
    if error.request_id:
        details.append(f"request id {error.request_id}")
    err.print(" · ".join(details), style="dim", highlight=False)
    raise typer.Exit(exit_codes.of(error))


def described(error: ImgeditError) -> dict[str, Any]:
    """An error for programs: what `fail_with` prints, field by field."""
    return {
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "korean": error.korean,
        "violations": [{"field": found.field, "description": found.description} for found in error.violations],
        "retry_after_seconds": error.retry_after_seconds,
        "request_id": error.request_id or "",
    }
