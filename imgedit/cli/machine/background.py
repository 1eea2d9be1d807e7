"""`imgedit up --detach`: continue in the background once all services are started.

Until then the background process writes to the terminal through a pipe, afterwards to its own log.
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from imgedit.cli.exit_codes import ExitCode


@dataclass(frozen=True)
class Process:
    """One of the two processes after a fork.

    reader: the pipe's end, in the waiting process. log: in the background process.
    """

    pid: int = 0
    is_child: bool = False
    reader: int = -1
    log: Path | None = None

    def let_go(self) -> None:
        """Give the terminal back: what is said from now on goes to the log."""
        if self.log is None:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(1, _DONE.encode())
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        _speak_to(descriptor)


_DONE = "\0\n"
"""The last line through the pipe of a process that lets go. Where it is missing, the process has ended."""

FOREGROUND = Process()
"""A process that keeps its terminal."""


def fork(log: Path) -> Process:
    """Fork into a background process without the terminal, and one that waits for it.

    Must be called before gRPC has begun to work. Raises OSError where the log cannot be written.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab"):
        pass
    reader, writer = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(writer)
        return Process(pid, reader=reader)
    os.setsid()
    os.close(reader)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _speak_to(writer)
    return Process(is_child=True, log=log)


def follow(process: Process, out: Console) -> ExitCode | None:
    """Repeat the background process's output until it lets go.

    Returns its exit code if it ends before that.

    Ctrl-C ends it.
    """
    try:
        with os.fdopen(process.reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if line == _DONE:
                    return None
                out.print(line.rstrip("\n"), markup=False, highlight=False, soft_wrap=True)
        _, status = os.waitpid(process.pid, 0)
    except KeyboardInterrupt:
        os.kill(process.pid, signal.SIGTERM)
        os.waitpid(process.pid, 0)
        return ExitCode.INTERRUPTED
    return ExitCode.DONE if os.waitstatus_to_exitcode(status) == 0 else ExitCode.FAILED


def _speak_to(descriptor: int) -> None:
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
