"""Serve with uvicorn: readiness, metrics, TLS renewal and graceful shutdown."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from imgedit.channels import check_authorities, check_pair
from imgedit.errors import SettingsError
from imgedit.file_watch import CHECK_SECONDS, Watched
from services.common import metrics
from services.common.metrics import MetricsServer
from services.common.server import listen_for_sighup
from services.openai_api.app import OpenAiApi
from services.openai_api.connection import connections
from services.openai_api.settings import OpenAiApiSettings

_KEEP_ALIVE_SECONDS = 75
"""Longer than the edge keeps an idle connection to this service, so that it never sends into a closing one."""

_MAX_HEADER_BYTES = 16 * 1024
_log = logging.getLogger(__name__)


class _Server(uvicorn.Server):
    """uvicorn without its own handlers of signals."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class RunningHttpServer:
    """A started server: its ports, and the way to drain it."""

    def __init__(self, api: OpenAiApi, settings: OpenAiApiSettings) -> None:
        """Raises `SettingsError` for certificates at fault, and for a port that is taken."""
        metrics.RELOAD_FAILURES.labels(settings.service, "tls")  # rates start at zero, not at the first event
        self._api = api
        self._settings = settings
        self._certificate = _certificate(settings)
        self._socket = _listening(settings.host, settings.port)
        try:
            self._metrics = MetricsServer(settings.host, settings.metrics_port, lambda: api.is_ready)
        except OSError as error:
            self._socket.close()
            where = f"{settings.host}:{settings.metrics_port}"
            raise SettingsError(f"cannot listen on {where} (metrics): {error}") from None

    @property
    def port(self) -> int:
        """The port for callers."""
        return int(self._socket.getsockname()[1])

    @property
    def metrics_port(self) -> int:
        """The port of /metrics."""
        return self._metrics.port

    async def start(self) -> None:
        """Listen."""
        self._metrics.start()
        self._server = _Server(self._config(await self._api.start()))
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        self._renewing = asyncio.create_task(self._renew())
        while not (self._server.started or self._serving.done()):  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        _log.info("serving", extra={"port": self.port, "metrics_port": self.metrics_port})

    async def ended_by_itself(self) -> None:
        """Wait until uvicorn ends. Raises what ended it."""
        await asyncio.shield(self._serving)

    async def drain(self) -> None:
        """Become not ready, let the edge notice, finish running requests, then stop."""
        if self._api.is_ready:
            self._api.is_ready = False
            await asyncio.sleep(self._settings.drain_seconds)
        self._server.should_exit = True
        with suppress(asyncio.CancelledError):
            await self._serving
        self._renewing.cancel()
        await self._api.stop()
        self._metrics.stop()

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        secured = {} if self._certificate is None else {"ssl_context_factory": self._context}
        return uvicorn.Config(
            app,
            http=connections(self._settings.head_seconds),
            ws="none",
            lifespan="off",
            interface="asgi3",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=max(1, round(self._settings.grace_seconds)),
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            **secured,  # type: ignore[arg-type]
        )

    def _context(self, _config: uvicorn.Config, _default: object) -> ssl.SSLContext:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.set_alpn_protocols(["http/1.1"])
        if self._settings.tls_client_ca:
            self._tls.verify_mode = ssl.CERT_REQUIRED
            self._tls.load_verify_locations(self._settings.tls_client_ca)
        self._load_certificate()
        return self._tls

    def _load_certificate(self) -> None:
        self._tls.load_cert_chain(self._settings.tls_certificate, self._settings.tls_key)

    async def _renew(self) -> None:
        """Take a certificate that was replaced; every handshake from then on shows it."""
        if self._certificate is None:
            return
        seen = self._certificate.get()
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            if (found := self._certificate.get()) is not seen:
                seen = found
                self._load_certificate()


def _certificate(settings: OpenAiApiSettings) -> Watched[object] | None:
    """A watch of the certificate's files; None if none is set.

    Raises `SettingsError` for an invalid one.
    """
    if not settings.tls_certificate:
        return None
    certificate, key = Path(settings.tls_certificate), Path(settings.tls_key)
    if settings.tls_client_ca:
        check_authorities(Path(settings.tls_client_ca))

    def read() -> object:
        check_pair(certificate, key)
        return object()

    on_fault = metrics.RELOAD_FAILURES.labels(settings.service, "tls").inc
    return Watched([certificate, key], read, on_fault=on_fault)


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        found = socket.create_server((host, port), family=family, backlog=512)
        # Connections inherit it. asyncio sets it only on sockets that were made with the protocol's number; without it
        # the end of an answer waits for the caller's delayed acknowledgement, 40 ms.
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return found
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error}") from None


async def serve(api: OpenAiApi, settings: OpenAiApiSettings, stop: asyncio.Event) -> int:
    """Serve until `stop` is set. Returns the exit code of the process."""

    async def nothing_to_read_again() -> None:
        _log.info("there is no configuration to read again")

    listen_for_sighup(nothing_to_read_again, stop)
    server = RunningHttpServer(api, settings)
    await server.start()
    stopping = asyncio.create_task(stop.wait())
    ended = asyncio.create_task(server.ended_by_itself())
    await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
    is_lost = not stopping.done()
    if is_lost:
        _log.critical("the HTTP server ended by itself", exc_info=ended.exception())
    stopping.cancel()
    _log.info("draining")
    await server.drain()
    return 1 if is_lost else 0
