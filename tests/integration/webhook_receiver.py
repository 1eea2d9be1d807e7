"""An HTTPS receiver of webhooks on loopback, with scripted answers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.orchestrator.webhooks.network import PublicNetwork

from .authority import Authority

HOST = "hooks.example.com"
"""Resolves nowhere: only the resolver of `network` knows it."""

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Received:
    """One request."""

    first_line: str
    headers: dict[str, str]
    body: bytes


def status(code: int, headers: str = "") -> Answer:
    """A plain answer."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {code} Scripted\r\ncontent-length: 2\r\n{headers}\r\n{{}}".encode())
        await writer.drain()

    return answer


async def hang_up(_: asyncio.StreamWriter) -> None:
    """No answer at all."""


async def never(_: asyncio.StreamWriter) -> None:
    """Keep the caller waiting."""
    await asyncio.Event().wait()


@dataclass
class Receiver:
    """Answers by the script, then with 204.

    left_early: set once a caller has closed on an endless answer.
    """

    port: int = 0
    script: list[Answer] = field(default_factory=list)
    received: list[Received] = field(default_factory=list)
    left_early: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.port}/in?key=1"

    async def endless(self, writer: asyncio.StreamWriter) -> None:
        """A good status, and a body without an end."""
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        try:
            while True:
                writer.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
                await writer.drain()
        except ConnectionError:
            self.left_early.set()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first_line, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(first_line, headers, body))
        await (self.script.pop(0) if self.script else status(204))(writer)


@asynccontextmanager
async def receiver(authority: Authority, host: str = HOST) -> AsyncIterator[Receiver]:
    """A receiver with a certificate for `host`."""
    made = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await made.answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the caller has left, or the test is over
        finally:
            tasks.discard(task)
            writer.transport.abort()

    pair = authority.issue(host)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in [*tasks]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def network(*answers: str) -> PublicNetwork:
    """Connections for tests, to loopback alone, which counts as public.

    answers: what the name resolves to in turn instead; the last one stays.
    """
    left = list(answers or ("127.0.0.1",))

    async def resolve(host: str, port: int) -> list[str]:
        return [left.pop(0) if len(left) > 1 else left[0]]

    return PublicNetwork(resolve, lambda address: address == "127.0.0.1")
