"""OpenTelemetry spans, exported by OTLP over gRPC.

Imported only when tracing is on. Sampling follows the caller; without a decision, a fraction of the traces is kept. A
background thread exports spans; when the collector is too slow, spans are dropped and no edit waits.
"""

from __future__ import annotations

import os
import socket
import threading
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from imgedit import __version__
from imgedit.channels import proxy_options
from services.common.tracing import TRACEPARENT, Attribute, Span

EXPORT_SECONDS = 3.0
"""For one batch of spans, with what is tried again."""

CLOSE_SECONDS = 5.0
"""Time for the remaining spans when the process ends."""

# `tracestate` is ignored: it is caller-controlled text.
_header = TraceContextTextMapPropagator()


class OtlpSpan:
    """An OpenTelemetry span behind the interface of `services.common.tracing`."""

    def __init__(self, span: trace.Span) -> None:
        self.context = trace.set_span_in_context(span, Context())
        self._span = span
        self._has_failed = False

    @property
    def trace_id(self) -> str:
        """32 hex digits."""
        return trace.format_trace_id(self._span.get_span_context().trace_id)

    @property
    def traceparent(self) -> str:
        """The W3C header."""
        carrier: dict[str, str] = {}
        _header.inject(carrier, self.context)
        return carrier[TRACEPARENT]

    def note(self, **attributes: Attribute) -> None:
        """Set attributes."""
        self._span.set_attributes(attributes)

    def fail(self, code: str, reason: str) -> None:
        """Set the status, once."""
        if self._has_failed:
            return
        self._has_failed = True
        self._span.set_attributes({"error.code": code, "error.reason": reason})
        self._span.set_status(Status(StatusCode.ERROR, f"{code} {reason}"))

    def end(self) -> None:
        """End it."""
        self._span.end()


class OtlpTracer:
    """Creates spans of `service` and exports them to `endpoint`, http(s)://HOST:PORT.

    ratio: the fraction of traces kept without a caller's decision.
    """

    def __init__(self, service: str, endpoint: str, ratio: float) -> None:
        resource = Resource.create(
            {
                "service.name": f"imgedit-{service}",
                "service.version": __version__,
                "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            }
        )
        # Not on exit: `close` ends it without waiting long for an unreachable collector.
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)), resource=resource, shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(
            endpoint=endpoint,
            insecure=endpoint.startswith("http://"),
            timeout=EXPORT_SECONDS,
            channel_options=tuple(proxy_options(urlsplit(endpoint).netloc)),  # type: ignore[arg-type]  # numbers, too
        )
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("imgedit", __version__)

    def begin(self, name: str, parent: Span | None, **attributes: Attribute) -> OtlpSpan:
        """A span inside this process."""
        context = parent.context if isinstance(parent, OtlpSpan) else Context()
        return OtlpSpan(self._tracer.start_span(name, context, attributes=attributes))

    def serve(self, name: str, traceparent: str | None, **attributes: Attribute) -> OtlpSpan:
        """A span of an incoming call; a malformed header is ignored."""
        context = _header.extract({TRACEPARENT: traceparent} if traceparent else {}, Context())
        return OtlpSpan(self._tracer.start_span(name, context, SpanKind.SERVER, attributes))

    def close(self) -> None:
        """Export the remaining spans; after `CLOSE_SECONDS` they are dropped."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing-close", daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)
