"""Run the command line: the script `imgedit`, or `python -m imgedit.cli`.

Loading the commands takes a second. Ctrl-C within it ends the program without a traceback, too.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130
"""`exit_codes.ExitCode.INTERRUPTED`, which is not loaded yet."""


def main() -> None:
    """Run the command line and end this process."""
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # of a job in a shell's background
    if not ignored:
        signal.signal(signal.SIGINT, _end_at_once)
    from imgedit.cli.main import app

    try:
        if not ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        app()
    except KeyboardInterrupt:  # between two commands' own care for it
        sys.exit(INTERRUPTED)
    finally:
        if not ignored:
            signal.signal(signal.SIGINT, _end_at_once)


def _end_at_once(_signum: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)  # there is nothing that would have to be undone


if __name__ == "__main__":
    main()
