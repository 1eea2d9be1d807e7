"""Every error that imgedit raises, in servers and client alike.

    ImgeditError                      the base: code, reason, message (English), korean, request_id
    ├── RequestError                  change the request, then send it again
    │   ├── InvalidArgument           a field is malformed or out of range; `violations` name it
    │   │   ├── ImageRejected         bytes that are not an acceptable PNG, JPEG or WebP picture
    │   │   ├── PromptRejected        a prompt that is empty or too long
    │   │   └── UnsupportedMediaType  the edge takes JSON bodies only
    │   ├── MethodNotAllowed          the edge's path does not take this HTTP method
    │   ├── RequestTooLarge           the message is over the size that the handler accepts
    │   ├── NotFound                  `resource` says what does not exist
    │   │   ├── ExperimentNotFound
    │   │   ├── FeatureNotFound
    │   │   └── RequestNotFound       no edit with this request id is held here
    │   ├── RequestIdInUse            another request has this id
    │   ├── FailedPrecondition        the request is well-formed but cannot be served as it is
    │   │   ├── NoSubjectFound        BEN2 sees no subject, or nothing but subject
    │   │   ├── PromptLanguageUnsupported
    │   │   └── RewriteFailed         the prompt could not be translated or written out
    │   ├── Unauthenticated           no credential, or one that is not known
    │   └── PermissionDenied          the credential is known but does not allow this
    │       ├── ScopeMissing
    │       └── ContentRefused        the operator's content policy refused prompt or result
    ├── TryLater                      the same request may succeed later; `retry_after_seconds` may say when
    │   ├── QueueFull
    │   ├── TooManyEdits              the limit on concurrent edits or bytes is reached, for all or for this caller
    │   ├── OutOfMemory               retry with a smaller picture
    │   ├── ServiceUnavailable        `stage` names the part that cannot be reached
    │   └── DeadlineExceeded          the caller's time is over; retry with more time
    │       └── WouldMissDeadline     refused at once: the work cannot be done in the time left
    ├── EditCancelled                 the caller went away or asked for the end
    ├── InternalError                 a bug of the server; quote `request_id`
    │   └── NumericFailure            the model's numbers were not finite; the operator should change dtype or attention
    └── LocalError                    never on the wire
        ├── SettingsError             a setting or a configuration file is wrong
        ├── ForkError                 a client is used in a process that was forked after gRPC had started
        ├── ModelLoadError            a checkpoint cannot be loaded
        └── ModelDownloadError        weights cannot be pulled or compared with what was pulled
            └── HubUnavailable        their hub does not answer, or not now

Catch `RequestError` to change the request, `TryLater` to send it again, and `ImgeditError` for everything else.

Each wire class has exactly one gRPC code and one reason of `error_reason.proto`; `to_status` and `from_status` turn an
error into a `google.rpc.Status` and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import ClassVar, Self

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from imgedit.option_names import option_of

DOMAIN = "imgedit"

MAX_QUOTED_CHARACTERS = 80
MAX_MESSAGE_BYTES = 1500
"""Of a text on the wire, in UTF-8: gRPC sends errors as headers, which have 8 KiB in all, and repeats the message."""


def quoted(text: str) -> str:
    """The part of a caller's input that a message may repeat.

    At most 80 characters, control characters escaped.
    """
    if len(text) <= MAX_QUOTED_CHARACTERS:
        return repr(text)
    return f"{text[:MAX_QUOTED_CHARACTERS]!r}… ({len(text)} characters)"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for a misspelt name: "; did you mean X?", empty if no known name is near."""
    if len(name) > MAX_QUOTED_CHARACTERS:  # the comparison takes time by the length, and no known name is so long
        return ""
    near = get_close_matches(name.lower(), known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


@dataclass(frozen=True)
class Violation:
    """One field at fault: its path in the request and what is expected of it."""

    field: str
    description: str

    @property
    def option(self) -> str:
        """The option of `EditClient.edit` that sets the field: "mask" for `mask_image`."""
        return option_of(self.field)


@dataclass(frozen=True)
class Resource:
    """A named thing that does not exist."""

    kind: str
    name: str


class ImgeditError(Exception):
    """Base of every error here.

    `message` is English advice with the API's field names; `korean` says the same for users of the page. `str(error)`
    is the message; where a client raised the error, it names the client's options instead of the fields.
    """

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL
    reason: ClassVar[str] = ""
    default_korean: ClassVar[str] = "요청을 처리하지 못했습니다."

    def __init__(
        self,
        message: str,
        *,
        korean: str | None = None,
        violations: Sequence[Violation] = (),
        resource: Resource | None = None,
        retry_after_seconds: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.korean = korean or self.default_korean
        self.violations = tuple(violations)
        self.resource = resource
        self.retry_after_seconds = retry_after_seconds
        self.metadata: dict[str, str] = dict(metadata or {})

    @property
    def request_id(self) -> str | None:
        """The id to quote when reporting the error; None before the server has set it."""
        return self.metadata.get("request_id")

    @property
    def stage(self) -> str | None:
        """The stage of the chain in which the error arose; None outside a chain."""
        return self.metadata.get("stage")


class RequestError(ImgeditError):
    """The request must change before it can succeed."""


class InvalidArgument(RequestError):
    """A field is malformed, out of range or unusable here."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    reason = "INVALID_FIELD"
    default_korean = "요청 값이 올바르지 않습니다."

    @classmethod
    def field(cls, field: str, description: str, *, korean: str | None = None) -> Self:
        """The usual form: one field, and what is expected of it."""
        return cls(f"{field}: {description}", korean=korean, violations=[Violation(field, description)])


class ImageRejected(InvalidArgument):
    """A picture that cannot be accepted."""

    reason = "IMAGE_REJECTED"
    default_korean = "이미지를 읽을 수 없습니다. PNG, JPG, WebP 파일인지 확인하세요."


class PromptRejected(InvalidArgument):
    """A prompt that is empty or too long."""

    reason = "PROMPT_REJECTED"
    default_korean = "프롬프트가 비어 있거나 너무 깁니다."


class UnsupportedMediaType(InvalidArgument):
    """The edge takes JSON bodies only."""

    reason = "UNSUPPORTED_MEDIA_TYPE"
    default_korean = "본문을 JSON으로, content-type: application/json 헤더와 함께 보내세요."


class MethodNotAllowed(RequestError):
    """The edge's path does not take this HTTP method."""

    code = grpc.StatusCode.UNIMPLEMENTED
    reason = "METHOD_NOT_ALLOWED"
    default_korean = "이 주소에서 쓸 수 없는 메서드입니다."


class RequestTooLarge(RequestError):
    """The request is larger than the handler accepts."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "REQUEST_TOO_LARGE"
    default_korean = "요청이 너무 큽니다. 이미지를 줄이거나 압축해서 다시 보내세요."


class NotFound(RequestError):
    """A named thing in the request does not exist."""

    code = grpc.StatusCode.NOT_FOUND
    reason = "NOT_FOUND"
    default_korean = "요청한 항목을 찾을 수 없습니다."

    @classmethod
    def named(cls, field: str, description: str, resource: Resource, *, korean: str) -> Self:
        """One field names a thing that does not exist.

        The description says which there are.
        """
        violations = [Violation(field, description)]
        return cls(f"{field}: {description}", korean=korean, violations=violations, resource=resource)


class ExperimentNotFound(NotFound):
    """No experiment has this id."""

    reason = "EXPERIMENT_NOT_FOUND"
    default_korean = "그런 실험이 없습니다. 실험 목록을 확인하세요."


class FeatureNotFound(NotFound):
    """The experiment has no such feature."""

    reason = "FEATURE_NOT_FOUND"
    default_korean = "이 실험에는 그런 기능이 없습니다. 실험 목록을 확인하세요."


class RequestNotFound(NotFound):
    """This server holds no edit with this request id."""

    reason = "REQUEST_NOT_FOUND"
    default_korean = "이 서버에는 그 요청 ID의 작업이 없습니다."


class RequestIdInUse(RequestError):
    """The request id belongs to another request of the same caller."""

    code = grpc.StatusCode.ALREADY_EXISTS
    reason = "REQUEST_ID_IN_USE"
    default_korean = "이 요청 ID는 이미 다른 요청에 쓰였습니다. 새 ID를 사용하세요."


class FailedPrecondition(RequestError):
    """The request is well-formed, but not with this picture or this prompt."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    reason = "FAILED_PRECONDITION"


class NoSubjectFound(FailedPrecondition):
    """BEN2 finds no subject, or nothing else, so the feature has no mask."""

    reason = "NO_SUBJECT_FOUND"
    default_korean = "배경과 인물을 구분하지 못했습니다. 더 선명한 이미지를 쓰거나 마스크를 직접 지정하세요."


class PromptLanguageUnsupported(FailedPrecondition):
    """The model cannot read the language of the prompt."""

    reason = "PROMPT_LANGUAGE_UNSUPPORTED"
    default_korean = "이 모델은 이 언어의 프롬프트를 읽지 못합니다. 영어로 작성하세요."


class RewriteFailed(FailedPrecondition):
    """The prompt could not be translated or written out."""

    reason = "REWRITE_FAILED"
    default_korean = "프롬프트를 번역하지 못했습니다. 영어로 직접 작성해 주세요."


class Unauthenticated(RequestError):
    """The call has no credential, or an unknown one."""

    code = grpc.StatusCode.UNAUTHENTICATED
    reason = "UNAUTHENTICATED"
    default_korean = "인증이 필요합니다. 올바른 API 토큰을 보내세요."


class PermissionDenied(RequestError):
    """The credential is known but does not allow this."""

    code = grpc.StatusCode.PERMISSION_DENIED


class ScopeMissing(PermissionDenied):
    """The credential lacks the scope that the call needs."""

    reason = "SCOPE_MISSING"
    default_korean = "이 API 토큰에는 필요한 권한이 없습니다."


class ContentRefused(PermissionDenied):
    """The operator's content policy refused the prompt or the result."""

    reason = "CONTENT_REFUSED"
    default_korean = "운영 정책에 따라 처리할 수 없는 요청입니다."


class TryLater(ImgeditError):
    """The same request may succeed later."""


class QueueFull(TryLater):
    """Too many jobs are waiting."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "QUEUE_FULL"
    default_korean = "지금 대기 중인 작업이 너무 많습니다. 잠시 후 다시 시도하세요."


class TooManyEdits(TryLater):
    """The limit on concurrent edits or their bytes is reached, in total or per caller."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "TOO_MANY_EDITS"
    default_korean = "동시에 처리할 수 있는 작업 수를 넘었습니다. 잠시 후 다시 시도하세요."


class OutOfMemory(TryLater):
    """The device ran out of memory; the server continues."""

    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    reason = "OUT_OF_MEMORY"
    default_korean = "메모리가 부족합니다. 이미지 크기를 줄이거나(예: 2048 → 1024) 더 작은 모델을 사용하세요."


class ServiceUnavailable(TryLater):
    """A service cannot be reached or was lost during the work."""

    code = grpc.StatusCode.UNAVAILABLE
    reason = "SERVICE_UNAVAILABLE"
    default_korean = "필요한 서비스에 연결할 수 없습니다. 잠시 후 다시 시도하세요."


class DeadlineExceeded(TryLater):
    """The caller's deadline passed."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    reason = "DEADLINE_PASSED"
    default_korean = "제한 시간이 지났습니다. 제한 시간을 늘리거나 Steps를 줄이세요."


class WouldMissDeadline(DeadlineExceeded):
    """Rejected up front: the remaining time is too short."""

    reason = "WOULD_MISS_DEADLINE"
    default_korean = "남은 시간 안에 끝낼 수 없습니다. 제한 시간을 늘리거나 Steps를 줄이세요."


class EditCancelled(ImgeditError):
    """The work was cancelled."""

    code = grpc.StatusCode.CANCELLED
    reason = "CANCELLED"
    default_korean = "작업이 취소되었습니다."


class InternalError(ImgeditError):
    """A fault of the server; its log has the details under the request id."""

    code = grpc.StatusCode.INTERNAL
    reason = "INTERNAL"
    default_korean = "서버 내부 오류입니다. 요청 ID와 함께 관리자에게 알려 주세요."


class NumericFailure(InternalError):
    """A result that is not finite, from half precision or an attention backend."""

    reason = "NUMERIC_FAILURE"
    default_korean = (
        "모델 계산에서 수치 오류(NaN 또는 무한대)가 발생하여 이미지를 만들지 못했습니다. "
        "관리자에게 서비스의 DTYPE 또는 ATTENTION 설정을 변경해 달라고 요청하세요."
    )


class LocalError(ImgeditError):
    """An error that never crosses the wire."""


class SettingsError(LocalError):
    """A setting or a configuration file is wrong; the message names it."""


class ForkError(LocalError):
    """A client or channel is used in a process that was forked after gRPC had started."""


class ModelLoadError(LocalError):
    """A checkpoint is missing, damaged or of the wrong shape.

    The message names the path or the entry.
    """


class ModelDownloadError(LocalError):
    """Weights cannot be downloaded or verified.

    The message says what to do.
    """


class HubUnavailable(ModelDownloadError):
    """The hub does not answer, breaks off or is busy. Retry later."""


def _descendants(cls: type[ImgeditError]) -> Iterator[type[ImgeditError]]:
    for child in cls.__subclasses__():
        yield child
        yield from _descendants(child)


def by_reason() -> dict[str, type[ImgeditError]]:
    """Every class that can cross the wire, by its reason."""
    return {cls.reason: cls for cls in _descendants(ImgeditError) if "reason" in vars(cls)}


_BY_CODE: dict[grpc.StatusCode, type[ImgeditError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RequestTooLarge,
    grpc.StatusCode.UNAVAILABLE: ServiceUnavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: EditCancelled,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}
"""The class of a bare code from the transport, which sends no details."""


def to_status(error: ImgeditError) -> status_pb2.Status:
    """The `google.rpc.Status`: always ErrorInfo and a Korean LocalizedMessage.

    Other details where they apply. Texts over 1500 bytes are cut, and the violations' texts together.
    """
    details: list[AnyMessage] = [
        _pack(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata)),
        _pack(error_details_pb2.LocalizedMessage(locale="ko-KR", message=_cut(error.korean))),
    ]
    if error.violations:
        each = MAX_MESSAGE_BYTES // len(error.violations)
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=v.field, description=_cut(v.description, each))
            for v in error.violations
        ]
        details.append(_pack(error_details_pb2.BadRequest(field_violations=violations)))
    if error.resource is not None:
        info = error_details_pb2.ResourceInfo(
            resource_type=error.resource.kind,
            resource_name=error.resource.name[:MAX_QUOTED_CHARACTERS],
            description="" if error.violations else _cut(error.message),
        )
        details.append(_pack(info))
    if error.retry_after_seconds is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after_seconds * 1000))
        details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return status_pb2.Status(code=error.code.value[0], message=_cut(error.message), details=details)


def _cut(text: str, most: int = MAX_MESSAGE_BYTES) -> str:
    encoded = text.encode()
    if len(encoded) <= most:
        return text
    return encoded[:most].decode(errors="ignore") + "…"


def from_status(status: status_pb2.Status) -> ImgeditError:
    """The error behind a status of `to_status`.

    Without details, the class of the bare code.
    """
    info, localized = error_details_pb2.ErrorInfo(), error_details_pb2.LocalizedMessage()
    bad, resource = error_details_pb2.BadRequest(), error_details_pb2.ResourceInfo()
    retry = error_details_pb2.RetryInfo()
    found = {
        detail.DESCRIPTOR.full_name
        for any_detail in status.details
        for detail in (info, localized, bad, resource, retry)
        if any_detail.Unpack(detail)
    }
    cls = by_reason().get(info.reason) if info.domain == DOMAIN else None
    return (cls or _class_of_code(status.code))(
        status.message,
        korean=localized.message or None,
        violations=[Violation(v.field, v.description) for v in bad.field_violations],
        resource=Resource(resource.resource_type, resource.resource_name)
        if resource.DESCRIPTOR.full_name in found
        else None,
        retry_after_seconds=retry.retry_delay.ToMilliseconds() / 1000 if retry.DESCRIPTOR.full_name in found else None,
        metadata=dict(info.metadata),
    )


def _class_of_code(code: int) -> type[ImgeditError]:
    return next((cls for status, cls in _BY_CODE.items() if status.value[0] == code), InternalError)


def _pack(
    detail: error_details_pb2.ErrorInfo
    | error_details_pb2.LocalizedMessage
    | error_details_pb2.BadRequest
    | error_details_pb2.ResourceInfo
    | error_details_pb2.RetryInfo,
) -> AnyMessage:
    packed = AnyMessage()
    packed.Pack(detail)
    return packed
