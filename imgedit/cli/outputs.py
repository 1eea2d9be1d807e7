"""Write results to standard output or files.

Inputs are never overwritten, other files only after a question or with --force.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from imgedit import output_files
from imgedit.channels import CHANNEL_OPTIONS
from imgedit.cli.console import err, fail, is_there, message, say, shown
from imgedit.cli.exit_codes import ExitCode

STANDARD = Path("-")
"""Standard input as a picture, standard output as a result."""

MAX_INPUT_BYTES = dict(CHANNEL_OPTIONS)["grpc.max_send_message_length"]

Force = Annotated[bool, typer.Option("--force", help="Overwrite existing files without a question.")]


def read_standard_input() -> bytes:
    """The picture that another program writes; ends the command where there is none."""
    if sys.stdin.isatty():
        fail(say("standard input is a terminal; write a picture to it, or name a file"), ExitCode.USAGE)
    data = sys.stdin.buffer.read(MAX_INPUT_BYTES + 1)
    if not data:
        fail(say("no picture came from standard input"))
    if len(data) > MAX_INPUT_BYTES:
        fail(say("more than {most} MiB came from standard input", most=MAX_INPUT_BYTES >> 20))
    return data


def check_standard_output() -> None:
    """End the command where a picture would be written to a terminal."""
    if sys.stdout.isatty():
        fail(say("a picture is not written to a terminal; name a file by -o, or send the output on"), ExitCode.USAGE)


def write_standard_output(data: bytes) -> None:
    """Write a picture for another program."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def free_name(path: Path) -> Path:
    """The path, or the first free one of `NAME-2.SUFFIX`, `NAME-3.SUFFIX` …."""
    names = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return path if not is_there(path) else next(name for name in names if not is_there(name))


def settle(outputs: Sequence[Path], inputs: Iterable[Path], *, force: bool) -> None:
    """End before the work if a result would overwrite an input or cannot be written.

    Asks before files that are there; where nobody can be asked, only `force` writes over them.
    """
    for path in outputs:
        _check_inputs(path, inputs)
    settle_existing([path for path in outputs if is_there(path) and not path.is_dir()], force=force)
    for path in outputs:
        check(path)


def settle_existing(found: Sequence[Path], *, force: bool) -> None:
    """Ask whether these files may be written over; end the command where they may not."""
    if not found or force:
        return
    first = shown(str(found[0]))
    what = say("{path} is there already", path=first)
    if len(found) > 1:
        what = say("{path} and {more} more are there already", path=first, more=len(found) - 1)
    if not (sys.stdin.isatty() and err.is_terminal):
        fail(what + say("; --force writes over it, or name another by --output or --out"), ExitCode.USAGE)
    if not typer.confirm(what + say(". Write over it?"), err=True):
        fail(say("nothing was written"), ExitCode.USAGE)


def check(path: Path) -> None:
    """End the command where a file of this name cannot be written."""
    try:
        output_files.check_output(path)
    except OSError as error:
        fail(say("cannot write {what}", what=message(error)))


def written(path: Path, data: bytes) -> str | None:
    """Write a result; what went wrong, and where it is kept then."""
    try:
        output_files.write_or_keep(path, data)
    except OSError as error:
        return say("cannot write {what}", what=message(error))
    return None


def is_one_of(path: Path, files: Iterable[Path]) -> bool:
    """Whether a path is one of these files, by whatever name or link."""
    return is_there(path) and any(is_there(file) and path.samefile(file) for file in files)


def _check_inputs(path: Path, inputs: Iterable[Path]) -> None:
    if is_one_of(path, inputs):
        text = say("{path} is an input of this command, which is never written over; name another file", path=path)
        fail(text, ExitCode.USAGE)
