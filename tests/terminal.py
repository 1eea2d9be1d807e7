"""A command in a terminal of 40 by 120 characters, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence


def output_of(command: Sequence[str], *, environment: Mapping[str, str], timeout: float = 120) -> tuple[int, str]:
    """Run it to its end: exit code and output without control codes."""
    terminal, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    running = subprocess.Popen(command, env={"TERM": "xterm", **environment}, stdin=end, stdout=end, stderr=end)
    os.close(end)
    drawn = b""
    try:
        while part := _read(terminal):
            drawn += part
        return running.wait(timeout), re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn.decode(errors="replace"))
    finally:
        running.kill()
        running.wait()
        os.close(terminal)


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # what Linux says when the other side is closed
        return b""
