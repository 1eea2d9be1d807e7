"""The connections of a server's callers, and closing one that reads no response.

gRPC's server can end a call with an unread response only by closing its connection.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote

_log = logging.getLogger(__name__)

_OPEN_FILES = Path("/proc/self/fd")


class Connections:
    """Counts each connection's calls, and those that wait for their caller to read."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._stuck: Counter[str] = Counter()

    @contextmanager
    def call(self, peer: str) -> Iterator[None]:
        """A call of this peer, as gRPC writes it: "ipv4:127.0.0.1:50000"."""
        with _counted(self._calls, peer):
            yield

    @contextmanager
    def stuck(self, peer: str) -> Iterator[None]:
        """A call of this peer that waits for its response to be read."""
        with _counted(self._stuck, peer):
            yield

    def close_if_stuck(self, peer: str) -> None:
        """Close the connection, unless another of its calls makes progress.

        A proxy's connection carries the calls of many callers.
        """
        if self._stuck[peer] >= self._calls[peer] and _close(peer):
            _log.warning("connection closed: its answers were not read", extra={"peer": peer})


@contextmanager
def _counted(counter: Counter[str], peer: str) -> Iterator[None]:
    counter[peer] += 1
    try:
        yield
    finally:
        counter[peer] -= 1
        if not counter[peer]:
            del counter[peer]


def _close(peer: str) -> bool:
    """Shut the socket of this process down whose other end is `peer`.

    Linux only; False where there is none.
    """
    wanted = _address(peer)
    if wanted is None or not _OPEN_FILES.exists():
        return False
    for file in _OPEN_FILES.iterdir():
        with suppress(OSError):
            if _is_of(int(file.name), wanted):
                return True
    return False


def _is_of(fd: int, wanted: tuple[str, int]) -> bool:
    """Shut down the file if it is the socket to that address; return whether it was."""
    copy = os.dup(fd)
    try:
        connection = socket.socket(fileno=copy)
    except OSError:  # not a socket
        os.close(copy)
        return False
    with connection:
        if connection.family not in (socket.AF_INET, socket.AF_INET6):
            return False
        host, port = connection.getpeername()[:2]
        if (_plain(host), port) != wanted:
            return False
        connection.shutdown(socket.SHUT_RDWR)
        return True


def _address(peer: str) -> tuple[str, int] | None:
    kind, _, rest = unquote(peer).partition(":")
    host, _, port = rest.rpartition(":")
    if kind not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    return _plain(host.strip("[]")), int(port)


def _plain(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
