"""Sends webhooks: bounded in number, time and retries.

A receiver's answer counts by its status alone: redirects are not followed, and bodies are not read.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import httpcore2

from imgedit import __version__
from services.orchestrator import metrics
from services.orchestrator.webhooks.network import AddressRefused
from services.orchestrator.webhooks.signature import signed_headers
from services.orchestrator.webhooks.targets import HTTPS_PORT, Target

FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 60.0
TOO_MANY_REQUESTS = 429

Outcome = Literal["delivered", "refused", "failed", "dropped"]

_log = logging.getLogger("imgedit.webhooks")


@dataclass(frozen=True)
class Webhook:
    """One message, the same bytes in every try."""

    target: Target
    message_id: str
    body: bytes


@dataclass(frozen=True)
class Limits:
    """Limits on webhooks.

    waiting: webhooks that are not delivered yet; at_once: concurrent tries. tries, try_seconds, total_seconds: of one
    webhook. first_wait: seconds before the first retry.
    """

    waiting: int
    at_once: int
    tries: int
    try_seconds: float
    total_seconds: float
    first_wait: float = FIRST_WAIT_SECONDS


@dataclass(frozen=True)
class _Result:
    """The end of one try. outcome None = try again."""

    outcome: Outcome | None
    why: str


class Sender:
    """Sends webhooks in the background. Belongs to one event loop."""

    def __init__(
        self,
        network: httpcore2.AsyncNetworkBackend,
        tls: ssl.SSLContext,
        secrets: Callable[[], Sequence[bytes]],
        limits: Limits,
    ) -> None:
        # A connection per try: each is judged again, and none is left to a receiver.
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=tls, max_connections=limits.at_once, max_keepalive_connections=0, network_backend=network
        )
        self._secrets = secrets
        self._limits = limits
        self._slots = asyncio.Semaphore(limits.at_once)
        self._tasks: set[asyncio.Task[None]] = set()

    def post(self, webhook: Webhook) -> None:
        """Send it in the background; over the limit it is dropped."""
        if len(self._tasks) >= self._limits.waiting:
            _record(webhook, "dropped", f"{self._limits.waiting} webhooks wait already", 0)
            return
        task = asyncio.create_task(self._send(webhook))
        self._tasks.add(task)
        metrics.WEBHOOKS_IN_FLIGHT.set(len(self._tasks))
        task.add_done_callback(self._ended)

    async def close(self, seconds: float) -> None:
        """Wait so long for the webhooks that are on their way, and drop the others."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        left = [*self._tasks]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._pool.aclose()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        metrics.WEBHOOKS_IN_FLIGHT.set(len(self._tasks))
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a webhook ended unexpectedly", exc_info=error)

    async def _send(self, webhook: Webhook) -> None:
        result, tried = _Result("failed", "unexpected error"), 0
        try:
            async with asyncio.timeout(self._limits.total_seconds):
                for tried in range(1, self._limits.tries + 1):
                    async with self._slots:
                        result = await self._try(webhook)
                    if result.outcome is not None:
                        break
                    if tried < self._limits.tries:
                        metrics.WEBHOOK_RETRIES.inc()
                        await asyncio.sleep(self._wait(tried))
        except TimeoutError:
            pass  # the last try says why
        except asyncio.CancelledError:
            result = _Result("dropped", "the server stops")
            raise
        finally:
            _record(webhook, result.outcome or "failed", result.why, tried)

    async def _try(self, webhook: Webhook) -> _Result:
        seconds = self._limits.try_seconds
        try:
            async with asyncio.timeout(seconds):
                return _judge(await self._status(webhook))
        except AddressRefused as refused:
            return _Result("refused", str(refused))
        except (TimeoutError, httpcore2.TimeoutException):
            return _Result(None, f"no answer within {seconds:g} s")
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
            return _Result(None, f"{type(error).__name__}: {error}")

    async def _status(self, webhook: Webhook) -> int:
        """The status that the receiver answers; its body stays unread."""
        signed = signed_headers(self._secrets(), webhook.message_id, int(time.time()), webhook.body)
        headers: list[tuple[bytes | str, bytes | str]] = [
            ("content-type", "application/json"),
            ("user-agent", f"imgedit/{__version__}"),
            *signed.items(),
        ]
        async with self._pool.stream("POST", _url(webhook.target), headers=headers, content=webhook.body) as response:
            return response.status

    def _wait(self, tried: int) -> float:
        """Exponential backoff with jitter, in seconds."""
        longest = min(LONGEST_WAIT_SECONDS, self._limits.first_wait * 2.0 ** (tried - 1))
        return longest * random.uniform(0.5, 1.0)


def _judge(status: int) -> _Result:
    if 200 <= status < 300:
        return _Result("delivered", f"status {status}")
    may_change = status >= 500 or status == TOO_MANY_REQUESTS
    return _Result(None if may_change else "refused", f"status {status}")


def _url(target: Target) -> httpcore2.URL:
    port = None if target.port == HTTPS_PORT else target.port
    return httpcore2.URL(scheme=b"https", host=target.host.encode(), port=port, target=target.path.encode())


def _record(webhook: Webhook, outcome: Outcome, why: str, tries: int) -> None:
    metrics.WEBHOOKS.labels(outcome).inc()
    # Without the path, which may hold a secret of the receiver.
    fields = {"host": webhook.target.host, "webhook_id": webhook.message_id, "outcome": outcome, "tries": tries}
    level = logging.INFO if outcome == "delivered" else logging.WARNING
    _log.log(level, "webhook", extra={**fields, "why": why})
