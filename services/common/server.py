"""Start, serve and stop a server: health, limits, keepalive, metrics, drain.

`run(make_service, settings_class)` is the whole of a `__main__`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer
from grpc_reflection.v1alpha import reflection

from imgedit import __version__, sighup
from imgedit.errors import ImgeditError, SettingsError
from services.common import access, logs, memory, metrics, tls, tracing
from services.common.interceptors import RequestInterceptor
from services.common.messages import Limits
from services.common.metrics import MetricsServer
from services.common.settings import P, S, ServiceSettings, load_settings

_log = logging.getLogger(__name__)

M = TypeVar("M")

_LEAVE_SECONDS = 0.5

DEVICE_THREADS = ("-worker", "-engine")
"""How the names of threads end that own a device: those of `Worker` and of the diffusion engine."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def _nothing() -> None:
    return None


async def _never() -> None:
    await asyncio.Event().wait()


@dataclass(frozen=True)
class Service:
    """The parts of a service for `run`.

    `rpc_services`: full names for health and reflection. `register` adds the servicers. `start` (load, warm up) is
    awaited before the service is SERVING, `stop` after the last call. `ended_by_itself` returns when the service can no
    longer serve; the process then exits with 1, so that it is restarted. `reload` is awaited on SIGHUP. `gate` checks
    callers.
    """

    rpc_services: tuple[str, ...]
    register: Callable[[grpc.aio.Server], None]
    start: Callable[[], Awaitable[None]] = _nothing
    stop: Callable[[], Awaitable[None]] = _nothing
    reload: Callable[[], Awaitable[None]] = _nothing
    ended_by_itself: Callable[[], Awaitable[None]] = _never
    gate: access.Gate = field(default_factory=access.OpenGate)


class RunningServer:
    """A started server: its ports, its health, and its drain."""

    def __init__(self, service: Service, settings: ServiceSettings) -> None:
        """Create the server.

        Raises `SettingsError` for invalid credentials, or for none if other machines can call.
        """
        access.check_exposure(settings, service.gate)
        metrics.RELOAD_FAILURES.labels(settings.service, "tls")  # rates start at zero, not at the first event
        self._service = service
        self._settings = settings
        self._credentials = tls.server_credentials(settings)
        self._health = HealthServicer()
        self._ready = False
        self._metrics = MetricsServer(settings.host, settings.metrics_port, lambda: self._ready)
        self._interceptor = RequestInterceptor(
            settings.service,
            max_request_bytes=settings.max_request_bytes,
            gate=service.gate,
            limits=Limits(
                receive_seconds=settings.receive_seconds,
                at_once=settings.max_receiving,
                per_caller=settings.max_receiving_per_caller,
                send_seconds=settings.send_seconds,
            ),
            client_names=frozenset(filter(None, re.split(r"[,\s]+", settings.tls_client_names))),
        )
        self._server = grpc.aio.server(interceptors=[self._interceptor], options=_options(settings))
        self.port = 0

    @property
    def metrics_port(self) -> int:
        """The port of /metrics."""
        return self._metrics.port

    async def start(self) -> None:
        """Listen as NOT_SERVING, let the service start, then report SERVING."""
        names = (*self._service.rpc_services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        self._service.register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), self._server)
        await self._set_health(_NOT_SERVING)
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            if self._credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, self._credentials)
        except RuntimeError:
            raise SettingsError(f"cannot listen on {address}: the port is in use or not allowed") from None
        await self._server.start()
        self._metrics.start()
        await self._service.start()
        await self._set_health(_SERVING)
        self._ready = True
        _log.info("serving", extra={"port": self.port, "metrics_port": self.metrics_port})

    async def drain(self) -> None:
        """Report NOT_SERVING, wait for balancers, finish running calls, and stop."""
        if self._ready:
            self._ready = False
            await self._set_health(_NOT_SERVING)
            await asyncio.sleep(self._settings.drain_seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace_seconds):
                if await self._interceptor.close():
                    # Closing a connection can lose its buffered data: give the last responses time to leave.
                    await asyncio.sleep(_LEAVE_SECONDS)
        await self._server.stop(_LEAVE_SECONDS)
        await self._service.stop()
        self._metrics.stop()

    async def ended_by_itself(self) -> None:
        """Wait until gRPC's server stops unexpectedly, and raise the cause."""
        await self._server.wait_for_termination()

    async def fall(self) -> None:
        """Clean up after gRPC's server has stopped unexpectedly."""
        self._ready = False
        await self._service.stop()
        self._metrics.stop()

    async def abandon(self) -> None:
        """Stop a server whose start failed."""
        await self._server.stop(None)
        self._metrics.close()

    async def _set_health(self, status: int) -> None:
        for name in ("", *self._service.rpc_services):
            await self._health.set(name, status)


def run_service(make_service: Callable[[S], Service], settings_class: type[S]) -> int:
    """Serve until SIGTERM or SIGINT.

    Returns the exit code: 0 after a clean shutdown, 1 if the start failed.
    """
    return run_process(settings_class, make_service, _serve)


def run_process(
    settings_class: type[P], make: Callable[[P], M], serve: Callable[[M, P, asyncio.Event], Awaitable[int]]
) -> int:
    """Run a server's whole process: settings, logs, signals, and `serve`.

    `serve` gets an event that is set once the process is to end, and returns the exit code.
    """
    sighup.block()
    try:
        settings = load_settings(settings_class)
        logs.configure(settings.service, settings.log_level)
        logs.claim_standard_error()
        metrics.BUILD.info({"version": __version__, "service": settings.service})
        made = make(settings)
        tracing.configure(settings)
        code = asyncio.run(_until_stopped(made, settings, serve))
    except ImgeditError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    finally:
        tracing.close()
    return _left(code)


def _left(code: int) -> int:
    """Return the exit code, or end the process if a device's thread computes.

    A large model may be half loaded. torch aborts if the interpreter ends under such a thread, and that looks like a
    crash.
    """
    if any(thread.name.endswith(DEVICE_THREADS) for thread in threading.enumerate()):
        logging.shutdown()
        sys.stderr.flush()
        os._exit(code)
    return code


async def _until_stopped(made: M, settings: P, serve: Callable[[M, P, asyncio.Event], Awaitable[int]]) -> int:
    """Run `serve`, and set its event on SIGTERM, SIGINT, and where the parent is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    watches = [asyncio.create_task(memory.release_regularly())]
    if settings.exit_with_parent:
        watches.append(asyncio.create_task(_watch_parent(stop)))
    code = await serve(made, settings, stop)
    for watch in watches:
        watch.cancel()
    _log.info("stopped")
    return code


async def _serve(service: Service, settings: ServiceSettings, stop: asyncio.Event) -> int:
    listen_for_sighup(service.reload, stop)
    try:
        server = RunningServer(service, settings)
    except OSError as error:
        raise SettingsError(f"cannot listen on {settings.host}:{settings.metrics_port} (metrics): {error}") from None
    starting = asyncio.create_task(server.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        ended = asyncio.create_task(server.ended_by_itself())
        lost = asyncio.ensure_future(service.ended_by_itself())
        await asyncio.wait({stopping, ended, lost}, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            _log.critical("nothing can be served any more; the process ends to be started again")
            await server.drain()
            return 1
        lost.cancel()
        if ended.done():
            # A path that is not UTF-8 does that to grpc.aio. Nobody can call any more, so exit and be restarted.
            _log.critical("gRPC's server ended by itself", exc_info=ended.exception())
            await server.fall()
            return 1
        # Not cancelled: its end is the server's, and cancelling it would cancel the drain below.
    _log.info("draining")
    starting.cancel()
    with suppress(asyncio.CancelledError):
        await starting
    await server.drain()
    return 0


def listen_for_sighup(read_again: Callable[[], Awaitable[None]], stop: asyncio.Event) -> None:
    """Reload the configuration on SIGHUP, or stop if the terminal has closed."""
    terminal = sighup.Terminal()
    reloads: set[asyncio.Task[None]] = set()

    def on_sighup() -> None:
        if terminal.is_gone():
            stop.set()
            return
        reload = asyncio.ensure_future(read_again())
        reloads.add(reload)
        reload.add_done_callback(reloads.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, on_sighup)
    sighup.unblock()


async def _watch_parent(stop: asyncio.Event) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110  # nothing tells that a parent has gone
        await asyncio.sleep(1)
    stop.set()


def _options(settings: ServiceSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_receive_bytes),
        ("grpc.max_send_message_length", settings.max_send_bytes),
        # Without these three, GOAWAY too_many_pings cuts off clients that ping during an 80 s edit.
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_ping_strikes", 0),
        # Per connection: a caller that resets streams quickly leaves many that are not cleaned up yet.
        ("grpc.max_concurrent_streams", 256),
        # Two servers on one port would silently share it.
        ("grpc.so_reuseport", 0),
    ]
