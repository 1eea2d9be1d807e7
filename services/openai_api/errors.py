"""Our errors in OpenAI's format.

An HTTP status, and {"error": {"message", "type", "param", "code"}}.
"""

from __future__ import annotations

import grpc

from imgedit.errors import (
    ContentRefused,
    DeadlineExceeded,
    ExperimentNotFound,
    FeatureNotFound,
    ImgeditError,
    OutOfMemory,
    QueueFull,
    RequestTooLarge,
    TooManyEdits,
    TryLater,
    Unauthenticated,
)
from services.openai_api.edits import FIELDS

Json = dict[str, object]

_STATUSES = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_CODES: dict[type[ImgeditError], str] = {
    ExperimentNotFound: "model_not_found",
    FeatureNotFound: "model_not_found",
    Unauthenticated: "invalid_api_key",
    TooManyEdits: "rate_limit_exceeded",
    QueueFull: "rate_limit_exceeded",
    ContentRefused: "content_policy_violation",
}
"""OpenAI's codes where it has one for the same thing; elsewhere the code is our reason in small letters."""


def status(error: ImgeditError) -> int:
    """The status of HTTP."""
    if isinstance(error, RequestTooLarge):
        return 413
    return _STATUSES.get(error.code, 500)


def headers(error: ImgeditError) -> dict[str, str]:
    """The headers that tell OpenAI's SDKs whether and when to retry."""
    may_help = isinstance(error, TryLater) and not isinstance(error, OutOfMemory | DeadlineExceeded)
    found = {"x-should-retry": "true" if may_help else "false"}
    if error.retry_after_seconds is not None:
        found["retry-after-ms"] = str(round(error.retry_after_seconds * 1000))
        found["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    return found


def body(error: ImgeditError) -> Json:
    """The JSON. `message_ko` is ours: the message in Korean."""
    fields = [violation.field for violation in error.violations]
    is_model = isinstance(error, ExperimentNotFound | FeatureNotFound)
    return {
        "error": {
            "message": _renamed(error.message),
            "type": _type(status(error)),
            "param": param(fields[0]) if fields else ("model" if is_model else None),
            "code": _CODES.get(type(error), error.reason.lower()),
            "message_ko": _renamed(error.korean),
        }
    }


def param(field: str) -> str:
    """The caller's name for a field: "outpaint[left]" for "outpaint.left"."""
    known = FIELDS.get(field)
    if known:
        return known
    outer, _, inner = field.partition(".")
    return f"{outer}[{inner}]" if inner else field


def _renamed(message: str) -> str:
    """A message that begins with a field's name, with the caller's name for it."""
    field, colon, rest = message.partition(":")
    return f"{param(field)}:{rest}" if colon and " " not in field else message


def _type(code: int) -> str:
    return _TYPES.get(code, "invalid_request_error" if code < 500 else "server_error")
