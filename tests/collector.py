"""A span collector: the OTLP service over real gRPC, which stores all spans."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2


@dataclass(frozen=True)
class Span:
    """One span as it arrived; `service` is its resource's."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    seconds: tuple[float, float]
    attributes: dict[str, Any]
    has_failed: bool
    status: str


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self) -> None:
        self.requests: list[trace_service_pb2.ExportTraceServiceRequest] = []
        self._news = threading.Condition()
        self.port = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def Export(self, request: Any, context: Any) -> trace_service_pb2.ExportTraceServiceResponse:
        with self._news:
            self.requests.append(request)
            self._news.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Span]:
        return [span for request in list(self.requests) for span in _spans_of(request)]

    def trace_of(self, request_id: str, is_complete: Callable[[Trace], bool]) -> Trace:
        """The trace in which an edit of this id is, once the condition holds.

        Fails after 20 s.
        """
        deadline = time.monotonic() + 20
        while True:
            spans = self.spans
            edits = [span for span in spans if span.name == "edit" and span.attributes["request_id"] == request_id]
            ids = {span.trace_id for span in edits}
            trace = Trace([span for span in spans if span.trace_id in ids])
            if ids and is_complete(trace):
                assert len(ids) == 1
                return trace
            left = deadline - time.monotonic()
            assert left > 0, f"incomplete: {[(span.service, span.name) for span in trace.spans]}"
            with self._news:
                self._news.wait(min(left, 0.5))


@dataclass(frozen=True)
class Trace:
    spans: list[Span]

    def named(self, name: str, service: str | None = None) -> Span:
        [found] = [span for span in self.spans if span.name == name and service in (None, span.service)]
        return found

    def has(self, *names: str) -> bool:
        return set(names) <= {span.name for span in self.spans}

    def parent(self, span: Span) -> Span:
        [found] = [other for other in self.spans if other.span_id == span.parent_id]
        return found

    def children(self, span: Span) -> list[str]:
        return sorted(other.name for other in self.spans if other.parent_id == span.span_id)


@contextmanager
def collector() -> Iterator[Collector]:
    """A running collector on a free port."""
    kept = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)
    kept.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield kept
    finally:
        server.stop(None).wait(10)


def _spans_of(request: trace_service_pb2.ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in request.resource_spans:
        [service] = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Span(
                    service=service,
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    seconds=(span.start_time_unix_nano / 1e9, span.end_time_unix_nano / 1e9),
                    attributes={a.key: _value(a.value) for a in span.attributes},
                    has_failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                    status=span.status.message,
                )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    return [_value(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)
