"""Logs as one JSON object per line on standard error.

Values are encoded and bounded, so a caller can neither forge nor flood lines. Servers write to standard error only
through this module.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

from services.common import tracing

MAX_CHARACTERS = 1000
"""Of one value of a line."""

MAX_TRACEBACK_CHARACTERS = 10_000

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the current task serves; empty outside a request."""

_log = logging.getLogger(__name__)

_GRPC = "grpc._cython.cygrpc"
_UNSAFE = re.compile("[\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
"""Characters that JSON keeps and terminals obey: C1 controls, separators, direction marks."""


def _quotes_no_header(record: logging.LogRecord) -> bool:
    """Whether the record is not gRPC's copy of a header that is invalid UTF-8.

    Such a header may be a token.
    """
    return not str(record.msg).startswith("Invalid encoding")


class _RequestIdFilter(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        if (span := tracing.current()) is not None:
            record.trace_id = span.trace_id
        return True


class _Formatter(JsonFormatter):  # type: ignore[misc]  # its module has no types
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002
        """UTC with its zone, as in "2026-11-30T06:21:04.558Z"."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return f"{moment.isoformat(timespec='milliseconds').removesuffix('+00:00')}Z"

    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        return {key: _bounded(key, value) for key, value in log_data.items()}

    def jsonify_log_record(self, log_data: dict[str, Any]) -> str:
        line: str = super().jsonify_log_record(log_data)
        return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def configure(service: str, level: str) -> None:
    """Send all logs of this process to standard error, labelled with the service.

    Called once, in `__main__`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_RequestIdFilter())
    handler.setFormatter(
        _Formatter(
            "%(asctime)s %(levelname)s %(name)s %(message)s %(request_id)s",
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger"},
            static_fields={"service": service},
            json_ensure_ascii=False,
        )
    )
    logging.captureWarnings(True)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger(_GRPC).addFilter(_quotes_no_header)
    # Usage is logged at every level.
    logging.getLogger("imgedit.usage").setLevel(logging.INFO)


def claim_standard_error() -> None:
    """Log uncaught exceptions too.

    Called once, in `__main__`; `services` itself silences gRPC's core.
    """
    sys.excepthook = lambda kind, error, frames: _log.critical("uncaught", exc_info=(kind, error, frames))
    threading.excepthook = lambda uncaught: _log.critical("uncaught in a thread", exc_info=uncaught.exc_value)


def _bounded(key: str, value: Any) -> Any:
    most = MAX_TRACEBACK_CHARACTERS if key == "exc_info" else MAX_CHARACTERS
    if not isinstance(value, str) or len(value) <= most:
        return value
    # The end of a traceback says the most.
    kept = value[-most:] if key == "exc_info" else value[:most]
    return f"{kept} … ({len(value)} characters)"
