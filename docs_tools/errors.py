"""The reference of error reasons: cause, code, HTTP status, class, Korean message."""

from __future__ import annotations

from http import HTTPStatus
from pathlib import Path

import grpc

from deploy.envoy.build import compile_protos
from docs_tools.markdown import code, table, titled
from docs_tools.protos import comments
from imgedit.errors import ImgeditError, MethodNotAllowed, RequestError, TryLater, UnsupportedMediaType, by_reason

HTTP = {
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
}
"""The transcoder's HTTP status per code."""

OF_THE_EDGE: dict[type[ImgeditError], HTTPStatus] = {
    MethodNotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    UnsupportedMediaType: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
}
"""The HTTP status of the errors that the edge itself answers with."""

SOURCE = "imgedit/v1/error_reason.proto"

HEAD = """# Error reasons

Every error carries `google.rpc.ErrorInfo` with the domain `imgedit` and one of these reasons, an English message that
says what to do, and the Korean one below. `request_id` in its metadata finds the call in the servers' logs. A code
that comes without details was set by the transport. The edge answers 413 by itself where a body is too large for it,
and 503 where no orchestrator is there.

*change*: a `RequestError`; change the request, then send it again. *later*: a `TryLater`; the same request may pass
later, after a missed deadline with more time. `RetryInfo` may say when. All classes are an `ImgeditError`.

"""


def page(folder: Path) -> dict[Path, str]:
    """The page, by path."""
    [file] = [file for file in compile_protos([SOURCE]).file if file.name == SOURCE]
    said = dict(comments(file))
    [enum] = file.enum_type
    rows = []
    for value in enum.value[1:]:  # the first one is never sent
        reason = value.name.removeprefix("ERROR_REASON_")
        cls = by_reason()[reason]
        decision = "change" if issubclass(cls, RequestError) else ""
        decision = "later" if issubclass(cls, TryLater) else decision
        code_name, _, when = said[f"{enum.name}.{value.name}"].partition(". ")
        if not code_name.startswith(cls.code.name):
            raise ValueError(f"the comment of {value.name} names another code than its class")
        code_and_status = f"{cls.code.name}<br>{int(OF_THE_EDGE.get(cls) or HTTP[cls.code])}"
        names = f"{code(reason)}<br>{code(cls.__name__)}"
        rows.append((names, code_and_status, decision, when, cls.default_korean))
    head = ["reason<br>class of `imgedit.errors`", "code<br>HTTP", "", "when", "in Korean"]
    return {folder / "errors.md": titled(HEAD) + table(head, rows)}
