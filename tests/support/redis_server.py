"""Debian's redis-server on a Unix socket, without persistence."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.support.waiting import wait_for


class RedisServer:
    """A server that can be ended and started again at the same address."""

    def __init__(self, folder: Path, options: Sequence[str], config: Path | None) -> None:
        self.socket = folder / "redis.sock"
        self._log = folder / "redis.log"
        self._command = ["redis-server", *([str(config)] if config else ["--save", ""])]
        self._command += ["--port", "0", "--unixsocket", str(self.socket), *options]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._log.parent)
        wait_for(self._accepts)

    def end(self) -> None:
        """Kill it, as a lost machine ends."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _accepts(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        with socket.socket(socket.AF_UNIX) as tried:
            return tried.connect_ex(str(self.socket)) == 0


@contextmanager
def redis_server(*options: str, config: Path | None = None) -> Iterator[RedisServer]:
    """With these options, or this configuration file."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed: make system-deps")
    with TemporaryDirectory(prefix="redis-") as folder:  # a socket's path has at most 107 characters
        server = RedisServer(Path(folder), options, config)
        server.start()
        try:
            yield server
        finally:
            server.end()
