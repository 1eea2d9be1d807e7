"""Lay out help: at most 100 columns, in the reader's language, options in groups.

With --json, wrong options and Ctrl-C are also reported as one JSON object.
"""

from __future__ import annotations

import inspect
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, get_args

import typer
from rich.cells import cell_len
from typer.core import TyperCommand, TyperGroup

from imgedit.cli import console, korean
from imgedit.cli.exit_codes import ExitCode

NARROWEST, WIDEST = 40, 100
NAME_COLUMNS = 28
"""The width of the column of option names; a longer name has a separate line."""

CONNECTION = "Server"
"""The group of the options that name a server and what it is shown."""

INTERRUPTED = "ended by Ctrl-C"


class Command(TyperCommand):
    """A command with our help."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The line that shows how it is called."""
        formatter.write(f"{_usage(self, ctx)}\n")

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, description, arguments, and the options by group."""
        formatter.write(_page(self, ctx))


class Group(TyperGroup):
    """A command of commands with our help."""

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        """The line that shows how it is called."""
        formatter.write(f"{_usage(self, ctx)}\n")

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Usage, description, options and the commands."""
        formatter.write(_page(self, ctx))

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the words before the command."""
        if parent is not None:
            return super().make_context(info_name, args, parent, **extra)
        console.set_manner(args)
        with _one_object():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        """Parse the rest and run the command."""
        if ctx.parent is not None:
            return super().invoke(ctx)
        with _one_object():
            return super().invoke(ctx)


@contextmanager
def _one_object() -> Iterator[None]:
    """With --json, also print JSON for errors before the command itself runs."""
    try:
        yield
    except KeyboardInterrupt:
        if console.is_json():
            console.print_json({"error": {"message": INTERRUPTED}})
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    except typer.TyperException as error:
        if console.is_json() and error.exit_code == ExitCode.USAGE:
            console.print_json({"error": {"message": error.format_message()}})
        raise


def described(parameter: Any) -> str:
    """The help of an option or argument, with its accepted values."""
    text = translated(parameter.help or "")
    if (names := choices(parameter)) and len("|".join(names)) > _LONGEST_METAVAR:
        text += f" {translated('One of')} {', '.join(names)}."
    elif not names and parameter.min is not None and parameter.max is not None and " to " not in (parameter.help or ""):
        text += f" {parameter.min} {translated('to')} {parameter.max}."
    return text


def choices(parameter: Any) -> list[str]:
    """The names that an option accepts, from an enum or a Literal; none for others."""
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [str(value) for value in get_args(annotation) if isinstance(value, str)]


def word(argument: Any) -> str:
    """An argument as the usage line names it."""
    return str(argument.metavar or argument.name.upper())


def translated(text: str) -> str:
    """A text of the help in the reader's language."""
    return korean.HELP.get(text, text) if console.language() == "ko" else text


_LONGEST_METAVAR = 22
_METAVARS = {"Path": "FILE", "int": "N", "float": "N", "str": "TEXT"}


def _usage(command: Any, ctx: Any) -> str:
    arguments = [word(one) for one in command.get_params(ctx) if one.param_type_name == "argument"]
    pieces = [*arguments, *(["COMMAND"] if hasattr(command, "commands") else []), "[OPTIONS]"]
    return f"{translated('Usage')}: {' '.join([ctx.command_path, *pieces])}"


def _page(command: Any, ctx: Any) -> str:
    parameters = [one for one in command.get_params(ctx) if not getattr(one, "hidden", False)]
    arguments = [one for one in parameters if one.param_type_name == "argument"]
    options = [one for one in parameters if one.param_type_name == "option"]
    commands = [(name, one) for name, one in getattr(command, "commands", {}).items() if not one.hidden]
    lines = [_usage(command, ctx), ""]
    lines += _text(translated(inspect.cleandoc(command.help or "")))
    if commands:
        rows = [(name, _first_sentence(translated(inspect.cleandoc(one.help or "")))) for name, one in commands]
        lines += _section("Commands", rows)
    lines += _section("Arguments", [(word(one), _full(one)) for one in arguments])
    groups: dict[str, list[Any]] = {}
    for one in options:
        groups.setdefault(one.rich_help_panel or "Options", []).append(one)
    for name, members in sorted(groups.items(), key=lambda found: found[0] == CONNECTION):
        lines += _section(name, [(_names(one), _full(one)) for one in members])
    if command.epilog:
        lines += ["", *_text(translated(command.epilog))]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _first_sentence(text: str) -> str:
    first = text.partition("\n\n")[0]
    return first.partition(". ")[0].removesuffix(".") + "."


def _full(parameter: Any) -> str:
    """Its purpose, its default and its variable."""
    notes = []
    if parameter.required:
        notes.append(translated("required"))
    default = parameter.default
    if default is not None and not isinstance(default, bool | list | tuple):
        shown = getattr(default, "value", default)
        notes.append(
            f"{translated('default')}: {shown:g}" if isinstance(shown, float) else f"{translated('default')}: {shown}"
        )
    if default is True:
        notes.append(f"{translated('default')}: {parameter.opts[0]}")
    if parameter.envvar:
        notes.append(f"{translated('variable')}: {parameter.envvar}")
    return " ".join([described(parameter), *(f"[{note}]" for note in notes)]).strip()


def _names(option: Any) -> str:
    names = ", ".join(sorted((*option.opts, *option.secondary_opts), key=lambda name: name.startswith("--")))
    if option.is_flag:
        return names
    listed = "|".join(choices(option))
    if option.metavar or (listed and len(listed) <= _LONGEST_METAVAR):
        return f"{names} {option.metavar or listed}"
    annotation = option.type_descriptor.annotation
    kind = get_args(annotation)[0] if getattr(annotation, "__origin__", None) is list else annotation
    return f"{names} {'NAME' if listed else _METAVARS.get(getattr(kind, '__name__', ''), 'TEXT')}"


def _section(title: str, rows: Sequence[tuple[str, str]]) -> list[str]:
    if not rows:
        return []
    return ["", f"{translated(title)}:", *_rows(rows)]


def _rows(rows: Sequence[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    column = min(NAME_COLUMNS, max(cell_len(name) for name, _ in rows)) + 2
    for name, text in rows:
        head, *rest = wrapped(text, width() - 2 - column) or [""]
        if cell_len(name) > column - 2:
            lines.append(f"  {name}")
            rest = [head, *rest]
        else:
            lines.append(f"  {name}{' ' * (column - cell_len(name))}{head}")
        lines += [" " * (2 + column) + line for line in rest]
    return lines


def _text(text: str) -> list[str]:
    """Paragraphs, wrapped."""
    lines: list[str] = []
    for paragraph in text.split("\n\n"):
        if lines:
            lines.append("")
        if paragraph.startswith("  "):  # a list of names and what they mean
            lines += _rows([(name, text) for name, text in (line.split(maxsplit=1) for line in paragraph.splitlines())])
        else:
            lines += wrapped(" ".join(paragraph.split()), width())
    return lines


def wrapped(text: str, width: int) -> list[str]:
    """Wrap a text to `width` columns.

    A wide character counts as two; a longer word is cut.
    """
    lines = [""]
    for part in text.split():
        word = part
        while True:
            joined = f"{lines[-1]} {word}" if lines[-1] else word
            if cell_len(joined) <= width:
                lines[-1] = joined
                break
            if lines[-1]:
                lines.append("")
                continue
            fitting = next(n for n in range(len(word), 0, -1) if cell_len(word[:n]) <= width or n == 1)
            lines[-1], word = word[:fitting], word[fitting:]
            if not word:
                break
            lines.append("")
    return lines if lines != [""] else []


def width() -> int:
    """Columns to write in: the terminal's, within bounds that read well."""
    return max(NARROWEST, min(WIDEST, shutil.get_terminal_size().columns))
