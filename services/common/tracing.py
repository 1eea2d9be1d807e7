"""Spans of what this process does, for one trace of an edit over all services.

The current span travels with the task, like the request id, and between services as the header `traceparent` of the
W3C. Off until `configure` is told where a collector is: then every call here is a check for None, and OpenTelemetry is
not imported. Spans hold names, ids, sizes and codes; never a prompt, a picture or a text of the caller's, so an error
is its code and reason, without its message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Protocol

from imgedit import installation
from imgedit.errors import EditCancelled, ImgeditError, InternalError, SettingsError
from services.common.settings import ServiceSettings

TRACEPARENT = "traceparent"

Attribute = str | int | float | bool | Sequence[int]


class Span(Protocol):
    """Something that takes time; may be used on any thread."""

    @property
    def trace_id(self) -> str:
        """Of the trace that it belongs to, 32 hex digits."""

    @property
    def traceparent(self) -> str:
        """The header that makes a call to another service its child."""

    def note(self, **attributes: Attribute) -> None:
        """Add to what is known of it."""

    def fail(self, code: str, reason: str) -> None:
        """It failed in this way; the first one counts."""

    def end(self) -> None:
        """It is over."""


class Tracer(Protocol):
    """Makes spans and sends those that have ended to a collector."""

    def begin(self, name: str, parent: Span | None, **attributes: Attribute) -> Span:
        """A span that begins now; without a parent, a new trace."""

    def serve(self, name: str, traceparent: str | None, **attributes: Attribute) -> Span:
        """The span of a call that came in with this header."""

    def close(self) -> None:
        """Send what is left, within a bounded time."""


_tracer: Tracer | None = None
_current: ContextVar[Span | None] = ContextVar("span", default=None)
_NOTHING = nullcontext()


def configure(settings: ServiceSettings) -> None:
    """Trace from now on where the settings name a collector.

    Called once, in `__main__`.

    Raises `SettingsError` where OpenTelemetry is not installed.
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
    """Send what is left and trace no more."""
    global _tracer
    tracer, _tracer = _tracer, None
    if tracer is not None:
        tracer.close()


def span(name: str, **attributes: Attribute) -> AbstractContextManager[None]:
    """What runs inside, as a child of the current span."""
    if _tracer is None:
        return _NOTHING
    return _entered(_tracer.begin(name, _current.get(), **attributes))


def served(
    method: str, metadata: Callable[[], Iterable[tuple[str, str | bytes]] | None], **attributes: Attribute
) -> AbstractContextManager[None]:
    """A call of `method` ("/package.Service/Rpc"), as a child of the caller's span where its metadata names one.

    `metadata` is asked only where tracing is on.
    """
    if _tracer is None:
        return _NOTHING
    _, service, rpc = method.split("/")
    given = dict(metadata() or ()).get(TRACEPARENT)
    traceparent = given if isinstance(given, str) else None
    known: dict[str, Attribute] = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": rpc, **attributes}
    return _entered(_tracer.serve(f"{service}/{rpc}", traceparent, **known))


def begin(name: str, parent: Span, **attributes: Attribute) -> Span | None:
    """A span that whoever begins it ends, on any thread.

    None where tracing has ended meanwhile.
    """
    return None if _tracer is None else _tracer.begin(name, parent, **attributes)


def current() -> Span | None:
    """The span that the current task is in.

    None outside one, so always where tracing is off.
    """
    return _current.get()


def note(**attributes: Attribute) -> None:
    """Add to what is known of the current span."""
    if (here := _current.get()) is not None:
        here.note(**attributes)


def failed(error: BaseException) -> None:
    """The current span ends with this error."""
    if (here := _current.get()) is not None:
        here.fail(*code_and_reason(error))


def metadata() -> tuple[tuple[str, str], ...]:
    """What a call to another service carries, so that its spans are children of the current one."""
    here = _current.get()
    return () if here is None else ((TRACEPARENT, here.traceparent),)


def code_and_reason(error: BaseException) -> tuple[str, str]:
    """What a span tells of an error; its message may quote a caller."""
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
        # Not by a token: a stream that its reader leaves is closed in another context, where a token is worth nothing.
        _current.set(outer)
        span.end()
