"""Connections to public addresses only.

The addresses of a host are judged, and the connection goes to a judged address: a name that resolves differently a
moment later gains nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpcore2

from services.orchestrator.webhooks.public_addresses import is_public

MAX_ADDRESSES = 4
"""Of a host, tried in turn."""

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Takes a host and a port, returns IP addresses; raises OSError."""

Judge = Callable[[str], bool]

SocketOption = tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]


class AddressRefused(Exception):
    """A host has an address that is not public."""


class SystemResolver:
    """The system's name resolution.

    It has its own threads, so a slow name server delays only webhooks.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="webhook-names")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The addresses of a host, in the system's order."""
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [*dict.fromkeys(str(address[0]) for *_, address in found)]


class PublicNetwork(httpcore2.AsyncNetworkBackend):
    """Opens connections for an HTTP library.

    judge: whether an address may be connected to.
    """

    def __init__(self, resolve: Resolve, judge: Judge = is_public) -> None:
        self._resolve = resolve
        self._judge = judge
        self._sockets = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to the first address of the host that answers.

        Raises `AddressRefused` if any of them is not public.
        """
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpcore2.ConnectError(f"{host} does not resolve: {error}") from None
        if not addresses:
            raise httpcore2.ConnectError(f"{host} has no address")
        for address in addresses:
            if not self._judge(address):
                raise AddressRefused(f"{host} has the address {address}, which is not public")
        fault: Exception | None = None
        for address in addresses[:MAX_ADDRESSES]:
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                fault = error
        raise httpcore2.ConnectError(f"no address of {host} answers: {fault}")

    async def sleep(self, seconds: float) -> None:
        """Sleep between the library's own retries, of which there are none."""
        await self._sockets.sleep(seconds)
