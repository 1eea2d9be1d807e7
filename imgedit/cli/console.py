"""Where the commands write.

Results to standard output, everything about them to standard error.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from imgedit import installation
from imgedit.cli import exit_codes
from imgedit.cli.exit_codes import ExitCode
from imgedit.errors import ImgeditError
from imgedit.json_text import json_line

out = Console()
err = Console(stderr=True)

Language = Literal["en", "ko"]

Lang = Annotated[
    Language | None, typer.Option(help="Language of error messages. [default: ko where LANG says so, else en]")
]


_SIGNS = {"–": "-", "…": "...", "·": "-", "→": "->", "×": "x", "•": "*"}
"""Replacements for typographic signs that terminals lack."""


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    signs = "".join(_SIGNS.get(sign, sign) for sign in part)
    return signs.encode("ascii", "backslashreplace").decode("ascii"), error.end


def adapt_streams() -> None:
    """Escape characters that the output's encoding (CP949, ASCII …) lacks."""
    codecs.register_error("imgedit", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="imgedit")


def shown(text: str) -> str:
    """A text that may contain a file name; undecodable bytes appear in hexadecimal."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def plain(text: str) -> str:
    """Sanitise foreign text for a terminal.

    No markup, control or direction characters.
    """
    signs = (
        sign if sign.isprintable() or sign == "\n" else sign.encode("unicode_escape").decode("ascii") for sign in text
    )
    return escape("".join(signs))


def language(chosen: Language | None) -> Language:
    """The language of messages: the chosen one, else the environment's."""
    return chosen or ("ko" if os.environ.get("LANG", "").startswith("ko") else "en")


def message(error: Exception, lang: Language) -> str:
    """The error message in the reader's language."""
    if isinstance(error, ImgeditError):
        return error.korean if lang == "ko" else error.message
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def print_json(content: Any) -> None:
    """Print one JSON document on one line, whatever the terminal's width and encoding."""
    print(json_line(content, sys.stdout.encoding))


def print_path(path: Path) -> None:
    """Print a path for programs, byte for byte if the encoding lacks a character."""
    try:
        str(path).encode(sys.stdout.encoding)
    except UnicodeError:
        sys.stdout.flush()
        sys.stdout.buffer.write(os.fsencode(path) + b"\n")
        sys.stdout.buffer.flush()
        return
    print(path)


def fail(text: str, *, as_json: bool = False) -> NoReturn:
    """Print an error and end with exit code 1."""
    if as_json:
        print_json({"error": {"message": text}})
    err.print(f"[red]error:[/] {plain(shown(text))}", highlight=False, soft_wrap=True)
    raise typer.Exit(ExitCode.FAILED)


def need_servers(*, as_json: bool = False) -> None:
    """End with exit code 1 where only the client is installed.

    The command needs code of the servers.
    """
    if not installation.has_servers():
        fail(installation.NO_SERVERS, as_json=as_json)


def fail_with(error: ImgeditError, lang: Language, *, as_json: bool = False) -> NoReturn:
    """Print a server's error with its request id, and exit with the matching code.

    The English message names field, value and range, so it appears beside the Korean one.
    """
    if as_json:
        print_json({"error": described(error)})
    err.print(f"[red]error:[/] {plain(error.message)}", highlight=False, soft_wrap=True)
    if lang == "ko":
        err.print(f"[red]오류:[/] {plain(error.korean)}", highlight=False, soft_wrap=True)
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
