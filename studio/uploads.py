"""Limits of what visitors hold: the memory of uploads, and open pages.

Streamlit holds every file in memory until its session ends, and opens a session for every page, without a limit on
their number. Without a login anybody can open pages, so addresses share the room: each may take half of what the
others leave.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from studio.settings import MAX_UPLOAD_MIB

SECONDS = 900.0
"""Time limit of one upload: 64 MiB at 0.6 Mbit/s."""

MAX_FILE_BYTES = (MAX_UPLOAD_MIB + 1) * 1024 * 1024
"""Streamlit's limit, with the form around the file."""

_PATH = re.compile(r".*/_stcore/upload_file/([^/]+)/[^/]+/?")


class TooMuch(Exception):
    """An upload or a page beyond the limits."""


def address_of(scope: Mapping[str, Any]) -> str:
    """The address of an ASGI connection; "" = unknown.

    Of IPv6 the /64 network, since one line has all of it. Behind a proxy uvicorn replaces it by X-Forwarded-For, if the
    variable FORWARDED_ALLOW_IPS names the proxy.
    """
    host = (scope.get("client") or ("",))[0]
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped or address.version == 4:
        return str(mapped or address)
    return str(ipaddress.ip_network((address, 64), strict=False))


def fits(held: Mapping[str, int], address: str, size: int, most: int) -> bool:
    """Whether an address may take `size` more of `most`.

    With it, the address has at most half of what the others leave.
    """
    own = held.get(address, 0)
    return 2 * (own + size) <= most - (sum(held.values()) - own)


class Pages:
    """The open pages by address.

    Not thread-safe: one event loop owns it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: Counter[str] = Counter()

    @contextmanager
    def opened(self, address: str) -> Iterator[None]:
        """Count a page while it is open.

        The first one of an address always fits, unless all places are taken. Raises `TooMuch`.
        """
        if self._open.total() >= self._most:
            raise TooMuch(f"{self._open.total()} pages are open, at most {self._most} are served")
        if self._open[address] and not fits(self._open, address, 1, self._most):
            raise TooMuch(f"{self._open[address]} pages of this address are open; close some")
        self._open[address] += 1
        try:
            yield
        finally:
            self._open[address] -= 1
            if not self._open[address]:
                del self._open[address]


class Uploads:
    """Bytes of stored and arriving uploads.

    Not thread-safe: one event loop owns it.
    """

    def __init__(self, kept: Callable[[], Mapping[str, int]], per_session: int, most: int) -> None:
        """Limit uploads to `per_session` and `most` bytes.

        `kept` returns the stored bytes of each session.
        """
        self._kept = kept
        self._per_session = per_session
        self._most = most
        self._arriving: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}

    @contextmanager
    def arriving(self, session: str, size: int | None, address: str = "") -> Iterator[None]:
        """Reserve room for a file while it arrives.

        `size` None = unknown. A session counts for the address of its first upload. Raises `TooMuch`.
        """
        taken = MAX_FILE_BYTES if size is None else min(size, MAX_FILE_BYTES)
        held = Counter(self._kept()) + self._arriving
        self._addresses = {one: self._addresses.get(one, "") for one in held}
        by_address: Counter[str] = Counter()
        for one, count in held.items():
            by_address[self._addresses[one]] += count
        address = self._addresses.setdefault(session, address)
        if held[session] + taken > self._per_session:
            raise TooMuch(_refusal("of this visit ", held[session], self._per_session))
        if not fits(by_address, address, taken, self._most):
            others = by_address.total() - by_address[address]
            raise TooMuch(_refusal("of this address ", by_address[address], (self._most - others) // 2))
        self._arriving[session] += taken
        try:
            yield
        finally:
            self._arriving[session] -= taken
            if not self._arriving[session]:
                del self._arriving[session]


def _refusal(whose: str, has: int, most: int) -> str:
    return f"the uploads {whose}take {has} bytes already, at most {most} are held; remove some"


def session_of(path: str) -> str | None:
    """The session of an upload's path; None for other paths."""
    match = _PATH.fullmatch(path)
    return match[1] if match else None


def kept_by_streamlit() -> dict[str, int]:
    """The stored bytes of each session."""
    from streamlit.runtime import Runtime
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

    manager = Runtime.instance().uploaded_file_mgr
    if not isinstance(manager, MemoryUploadedFileManager):
        raise TypeError(f"Streamlit keeps uploads in {type(manager).__name__}, whose bytes cannot be counted")
    return {
        session: sum(len(file.data) for file in [*files.values()]) for session, files in [*manager.file_storage.items()]
    }
