"""The reference of the command line: the help of every command as Markdown."""

from __future__ import annotations

import inspect
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer

from docs_tools.markdown import code, table, titled
from imgedit.cli.main import app

HEAD = """# Command reference

The help of every command. [The Python client and the command line](../client.md) covers exit codes and
scripting.

"""


def page(folder: Path) -> dict[Path, str]:
    """The page, by path."""
    root = typer.main.get_command(app)
    commands = dict(root.commands.items())  # type: ignore[attr-defined]
    parts = [_described(f"imgedit {name}", command) for name, command in sorted(commands.items())]
    return {folder / "cli.md": titled(HEAD) + "".join(parts)}


def _described(name: str, command: Any) -> str:
    if hasattr(command, "commands"):
        return "".join(_described(f"{name} {sub}", found) for sub, found in sorted(command.commands.items()))
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    options = [parameter for parameter in command.params if parameter not in arguments and parameter.name != "help"]
    usage = " ".join([name, *map(_word, arguments), *(["[OPTIONS]"] if options else [])])
    rows = [_row(parameter) for parameter in (*arguments, *options)]
    head = f"## {name}\n\n`{usage}`\n\n{inspect.cleandoc(command.help or '')}\n\n"
    return head + (table(["option", "default", "meaning"], rows) if rows else "")


def _word(argument: Any) -> str:
    return f"{argument.name.upper()}{'...' if argument.nargs == -1 else ''}"


def _row(parameter: Any) -> tuple[str, str, str]:
    is_argument = parameter.param_type_name == "argument"
    names = (
        code(_word(parameter)) if is_argument else ", ".join(map(code, (*parameter.opts, *parameter.secondary_opts)))
    )
    text = parameter.help or ""
    if choices := _choices(parameter.type_descriptor.annotation):
        text += f" One of {', '.join(map(code, choices))}."
    elif parameter.min is not None and parameter.max is not None and " to " not in text:
        text += f" {parameter.min} to {parameter.max}."
    if parameter.envvar:
        text += f" Environment: `{parameter.envvar}`."
    return names, "required" if parameter.required else _default(parameter.default), text


def _choices(annotation: Any) -> list[str]:
    """The names of an enum or a Literal; None for other types."""
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [str(member.value) for member in annotation]
    return [str(value) for value in get_args(annotation) if isinstance(value, str)]


def _default(value: Any) -> str:
    if value is None or value is False:
        return ""
    if value is True:
        return "on"
    return code(str(getattr(value, "value", value)))
