"""The exit codes of the commands.

They are part of the interface: scripts use them.
"""

from __future__ import annotations

from enum import IntEnum

from imgedit.errors import HubUnavailable, ImgeditError, TryLater


class ExitCode(IntEnum):
    """The exit codes of every `imgedit` command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    TRY_LATER = 4
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.DONE: "done, or all is well",
    ExitCode.FAILED: "refused or failed: change the request, the file or the setting that the message names",
    ExitCode.USAGE: "an option or argument is wrong",
    ExitCode.SOME_FAILED: "batch: some pictures failed, others are done",
    ExitCode.TRY_LATER: "nothing is wrong with the request: no server answers, it is full, or time ran out",
    ExitCode.INTERRUPTED: "ended by Ctrl-C",
}

EPILOG = "Exit codes:\n\n" + "\n".join(f"  {code.value:<4} {meaning}" for code, meaning in MEANINGS.items())
"""The last lines of `imgedit --help`."""


def may_pass_later(error: ImgeditError) -> bool:
    """Whether the same command may do what it could not do now."""
    return isinstance(error, TryLater | HubUnavailable)


def exit_code_of(error: ImgeditError) -> ExitCode:
    """The exit code for this error."""
    return ExitCode.TRY_LATER if may_pass_later(error) else ExitCode.FAILED
