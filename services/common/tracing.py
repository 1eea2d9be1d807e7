"""Spans of this process, part of one trace per edit across all services.

The current span travels with the task, and between services in the W3C header `traceparent`. Off until `configure` gets
a collector: then every call here is a check for None, and OpenTelemetry is not imported. Spans hold names, ids, sizes
and codes; never a prompt, an image or a caller's text, so an error is its code and reason without its message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from imgedit import installation
from imgedit.errors import EditCancelled, ImgeditError, InternalError, SettingsError
from services.common.settings import ServerSettings

TRACEPARENT = "traceparent"

Attribute = str | int | float | bool | Sequence[int]


class Span(Protocol):
    """A timed operation; usable on any thread."""

    @property
    def trace_id(self) -> str:
        """The id of its trace, 32 hex digits."""

    @property
    def traceparent(self) -> str:
        """The header that makes a call to another service its child."""

    def note(self, **attributes: Attribute) -> None:
        """Add attributes."""

    def fail(self, code: str, reason: str) -> None:
        """Mark it as failed; the first failure counts."""

    def end(self) -> None:
        """End it."""


class Tracer(Protocol):
    """Creates spans and exports finished ones to a collector."""

    def begin(self, name: str, parent: Span | None, **attributes: Attribute) -> Span:
        """A new span; without a parent, a new trace."""

    def serve(self, name: str, traceparent: str | None, **attributes: Attribute) -> Span:
        """The span of an incoming call with this header."""

    def close(self) -> None:
        """Export the remaining spans, within a bounded time."""


_tracer: Tracer | None = None
_current: ContextVar[Span | None] = ContextVar("span", default=None)
_NOTHING = nullcontext()


def configure(settings: ServerSettings) -> None:
    """Start tracing if the settings name a collector.

    Called once, in `__main__`. Raises `SettingsError` if OpenTelemetry is not installed.
    """
    global _tracer
    if not settings.tracing:
        return
    try:
        from services.common.otlp import OtlpTracer
    except ImportError as error:
        raise SettingsError(f"{settings.variable('tracing')}: {error}; {installation.to_install('tracing')}") from None
    _tracer = OtlpTracer(settings.service, settings.tracing, settings.tracing_ratio)


def close() -> None:
    """Export the remaining spans and stop tracing."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def span(name: str, **attributes: Attribute) -> AbstractContextManager[None]:
    """Run the code inside as a child of the current span."""
    if _tracer is None:
        return _NOTHING
    return _entered(_tracer.begin(name, _current.get(), **attributes))


def served(
    method: str, metadata: Callable[[], Iterable[tuple[str, str | bytes]] | None], **attributes: Attribute
) -> AbstractContextManager[None]:
    """Trace a call that this server handles, as a child of the caller's span.

    method: "/package.Service/Rpc". `metadata` is read only when tracing is on.
    """
    if _tracer is None:
        return _NOTHING
    _, service, rpc = method.split("/")
    given = dict(metadata() or ()).get(TRACEPARENT)
    traceparent = given if isinstance(given, str) else None
    known: dict[str, Attribute] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": rpc, **attributes}
    return _entered(_tracer.serve(f"{service}/{rpc}", traceparent, **known))


def begin(name: str, parent: Span, **attributes: Attribute) -> Span | None:
    """A span that its creator ends, on any thread; None if tracing has stopped."""
    return None if _tracer is None else _tracer.begin(name, parent, **attributes)


def current() -> Span | None:
    """The span of the current task; None outside one, or when tracing is off."""
    return _current.get()


def note(**attributes: Attribute) -> None:
    """Add attributes to the current span."""
    if (here := _current.get()) is not None:
        here.note(**attributes)


def failed(error: BaseException) -> None:
    """End the current span with this error."""
    if (here := _current.get()) is not None:
        here.fail(*code_and_reason(error))


def metadata() -> tuple[tuple[str, str], ...]:
    """The metadata that makes a call's spans children of the current one."""
    here = _current.get()
    return () if here is None else ((TRACEPARENT, here.traceparent),)


def code_and_reason(error: BaseException) -> tuple[str, str]:
    """The span attributes of an error, without its message, which may quote a caller."""
    if isinstance(error, ImgeditError) and error.reason:
        return error.code.name, error.reason
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return EditCancelled.code.name, EditCancelled.reason
    return InternalError.code.name, InternalError.reason


@contextmanager
def _entered(span: Span) -> Iterator[None]:
    outer = _current.get()
    _current.set(span)
    try:
        yield
    except BaseException as error:
        span.fail(*code_and_reason(error))
        raise
    finally:
        # Not by a token: an abandoned stream is closed in another context, where a token is invalid.
        _current.set(outer)
        span.end()
