"""SIGHUP: stop if the terminal has closed, else reload the configuration.

By default the signal ends a process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class Terminal:
    """The terminal that started this process, if any."""

    def __init__(self) -> None:
        # nohup ignores the signal: then the end of the terminal does not matter.
        self._was_there = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN and _is_there()

    def is_gone(self) -> bool:
        """Whether the terminal of the start has closed."""
        return self._was_there and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True


def hold() -> None:
    """Block SIGHUP until `release`.

    Without a handler it would end the process.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})


def release() -> None:
    """Unblock SIGHUP, delivering a pending one."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


@contextmanager
def held_for_children() -> Iterator[None]:
    """Start child processes with SIGHUP blocked; they unblock it themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
