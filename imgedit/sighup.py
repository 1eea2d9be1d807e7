"""SIGHUP, which means two things: that the terminal has closed, and "read your configuration again".

By default it ends a process. Here it ends one whose terminal is gone, cleanly, and is a message to every other.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Terminal:
    """The terminal that this process was started from, if any."""

    def __init__(self) -> None:
        # Under nohup the signal is ignored from the start: then the terminal's end is none of our business.
        self._was_there = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    def is_gone(self) -> bool:
        """Whether it was there at the start and has closed since."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def block() -> None:
    """Let SIGHUP wait until `release`: before there is a handler it would end the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def unblock() -> None:
    """Take SIGHUP, and one that waits."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def blocked_for_children() -> Iterator[None]:
    """Processes that are started inside begin with SIGHUP held; they release it themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
