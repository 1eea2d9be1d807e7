"""The Prometheus metrics of every server, and their HTTP server.

Labels are closed sets: never a prompt, a user or a request id. Services add their own constants.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, Info, make_wsgi_app

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

REQUEST_BUCKETS = (
    *(0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 120, 180, 240, 300, 600),
)
"""Seconds. An edit takes seconds to minutes; the client library's default buckets end at 10 s."""

WAIT_BUCKETS = (0, 0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300)
"""Seconds in a queue; the first bucket counts those that did not wait."""

RPC_SECONDS = Histogram(
    "imgedit_rpc_duration_seconds",
    "Wall-clock time of an RPC from its arrival to its last message.",
    ["service", "rpc", "code"],
    buckets=REQUEST_BUCKETS,
)
RPC_ERRORS = Counter("imgedit_rpc_errors_total", "RPCs that ended in an error.", ["service", "rpc", "code", "reason"])
RPC_IN_FLIGHT = Gauge("imgedit_rpc_in_flight", "RPCs being served.", ["service", "rpc"])
QUEUE_DEPTH = Gauge("imgedit_queue_depth", "Jobs that wait for the device.", ["service"])
QUEUE_WAIT_SECONDS = Histogram(
    "imgedit_queue_wait_seconds",
    "Time from a job's arrival to its start on the device.",
    ["service"],
    buckets=WAIT_BUCKETS,
)
MODEL_LOADED = Gauge("imgedit_model_loaded", "1 once the model is loaded and warm.", ["service"])
MODEL_LOAD_SECONDS = Gauge("imgedit_model_load_seconds", "Time that loading and warming up took.", ["service"])
RELOAD_FAILURES = Counter(
    "imgedit_reload_failures_total",
    "Changed files of credentials that could not be used; what was read before stays in force.",
    ["service", "what"],
)
BUILD = Info("imgedit_build", "Version of imgedit and the model revision.")


class _ThreadingWSGIServer(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _SilentHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Scrapes and probes are not logged."""


class MetricsServer:
    """Serves /metrics, /livez and /readyz from its own thread.

    It answers while the event loop is busy. /livez is 200 while the process lives, /readyz is 200 when `is_ready()`
    returns true and 503 otherwise.
    """

    def __init__(self, host: str, port: int, is_ready: Callable[[], bool]) -> None:
        self._is_ready = is_ready
        self._metrics = make_wsgi_app(REGISTRY)
        self._server = make_server(host, port, self._app, _ThreadingWSGIServer, _SilentHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_port)

    def start(self) -> None:
        """Start serving."""
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._server.shutdown()
        self.close()

    def close(self) -> None:
        """Free the port of a server that never started."""
        self._server.server_close()

    def _app(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                return list(self._metrics(environ, start_response))
            case "/livez":
                return _answer(start_response, "200 OK", b"alive\n")
            case "/readyz":
                if self._is_ready():
                    return _answer(start_response, "200 OK", b"ready\n")
                return _answer(start_response, "503 Service Unavailable", b"not ready\n")
        return _answer(start_response, "404 Not Found", b"try /metrics, /livez or /readyz\n")


def _answer(start_response: StartResponse, status: str, body: bytes) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
