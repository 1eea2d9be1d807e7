"""Where the commands write.

Results to standard output, everything about them to standard error.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from imgedit import installation
from imgedit.cli import exit_codes, field_names, korean
from imgedit.cli.exit_codes import ExitCode
from imgedit.errors import ImgeditError, LocalError
from imgedit.json_text import json_line

out = Console()
err = Console(stderr=True)

Language = Literal["en", "ko"]

_ERROR: dict[Language, str] = {"en": "error", "ko": "오류"}
_WARNING: dict[Language, str] = {"en": "warning", "ko": "주의"}

Lang = Annotated[
    Language | None, typer.Option(help="Language of help and messages. [default: ko if LANG is Korean, else en]")
]


@dataclass(frozen=True)
class _Manner:
    """How to speak to this call's user: the language, and JSON or text."""

    language: Language
    is_json: bool


_manner: ContextVar[_Manner | None] = ContextVar("manner", default=None)


def set_manner(arguments: Sequence[str]) -> None:
    """Read the language and --json before the command line is parsed.

    Errors of the parsing itself need them.
    """
    given = list(arguments)
    chosen: Language | None = None
    for word, following in zip(given, [*given, ""][1:], strict=True):
        text = word.partition("=")[2] if word.startswith("--lang=") else following if word == "--lang" else ""
        chosen = "ko" if text == "ko" else "en" if text == "en" else chosen
    _manner.set(_Manner(chosen or _of_environment(), "--json" in given))


def language() -> Language:
    """The language of messages: as chosen by --lang, else that of the environment."""
    manner = _manner.get()
    return manner.language if manner else _of_environment()


def is_json() -> bool:
    """Whether one JSON object is to be the whole output, also of a failure."""
    manner = _manner.get()
    return manner is not None and manner.is_json


def _of_environment() -> Language:
    """By the variables that name the language of messages, in POSIX's order."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    value = next((os.environ[name] for name in names if os.environ.get(name)), "")
    return "ko" if value.startswith("ko") else "en"


def say(text: str, **values: object) -> str:
    """A message of the command line in the reader's language, with its values."""
    found = korean.MESSAGES.get(text, text) if language() == "ko" else text
    return found.format(**values)


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


def message(error: Exception) -> str:
    """An error's message in the reader's language."""
    if isinstance(error, ImgeditError):
        is_translated = not isinstance(error, LocalError) or error.korean != error.default_korean
        return field_names.in_options(error.korean if language() == "ko" and is_translated else error.message)
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


def fail(text: str, code: ExitCode = ExitCode.FAILED) -> NoReturn:
    """Print an error and end with this exit code."""
    if is_json():
        print_json({"error": {"message": text}})
    err.print(f"[red]{_ERROR[language()]}:[/] {plain(shown(text))}", highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def warn(text: str) -> None:
    """Print a warning to standard error."""
    err.print(f"[yellow]{_WARNING[language()]}:[/] {plain(text)}", soft_wrap=True)


def need_servers() -> None:
    """End with exit code 1 if only the client is installed."""
    if not installation.has_servers():
        fail(
            say(
                "this command needs code of the servers, and only the client is installed here; run it in a checkout "
                "(git clone, then make install) or in a container image of the project"
            )
        )


def is_there(path: Path) -> bool:
    """Whether there is such a file or folder; a name that none can have is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder."""
    return is_there(path) and path.is_dir()


def need_file(path: Path) -> None:
    """End with exit code 1 where there is no such file, or a folder of that name."""
    if is_folder(path):
        fail(say("{path} is a folder, and a file is needed", path=path))
    if not is_there(path):
        fail(say("there is no file {path}", path=path))


def need_folder(path: Path, option: str = "") -> None:
    """End with exit code 1 if there is no such folder. option: the one that names it."""
    if not is_folder(path):
        fail((f"{option}: " if option else "") + say("there is no folder {path}", path=path))


def fail_with(error: ImgeditError) -> NoReturn:
    """Print a server's error and end with its exit code.

    The output includes the ids that find the error in the server's log.

    Every field at fault has a line, under the name of its option. The English message names field, value and range, so
    it is there in Korean too.
    """
    if is_json():
        print_json({"error": described(error)})
    for text in _faults(error):
        err.print(f"[red]error:[/] {plain(text)}", highlight=False, soft_wrap=True)
    if language() == "ko":
        korean_text = field_names.in_options(error.korean)
        err.print(f"[red]{_ERROR['ko']}:[/] {plain(korean_text)}", highlight=False, soft_wrap=True)
    details = [" ".join(filter(None, (error.code.name, error.reason)))]
    if error.retry_after_seconds is not None:
        details.append(f"retry after {error.retry_after_seconds:g} s")
    if error.request_id:
        details.append(f"request id {error.request_id}")
    err.print(" · ".join(details), style="dim", highlight=False)
    raise typer.Exit(exit_codes.exit_code_of(error))


def _faults(error: ImgeditError) -> list[str]:
    """The message, or a line for each field at fault where it says nothing but these."""
    found = [(fault.field, fault.description) for fault in error.violations]
    if found and error.message == "; ".join(f"{field}: {description}" for field, description in found):
        return [
            f"{field_names.option_of(field)}: {field_names.in_options(description)}" for field, description in found
        ]
    return [field_names.in_options(error.message)]


def described(error: ImgeditError) -> dict[str, Any]:
    """An error for programs: what `fail_with` prints, field by field."""
    return {
        "code": error.code.name,
        "reason": error.reason,
        "message": error.message,
        "korean": error.korean,
        "violations": [
            {"field": found.field, "option": field_names.option_of(found.field), "description": found.description}
            for found in error.violations
        ],
        "retry_after_seconds": error.retry_after_seconds,
        "request_id": error.request_id or "",
    }
