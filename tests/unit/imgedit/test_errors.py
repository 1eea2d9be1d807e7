"""The error tree: one code and reason per class, over the wire and back."""

from __future__ import annotations

import inspect
import re

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from imgedit import errors
from imgedit.errors import (
    DeadlineExceeded,
    EditCancelled,
    ImgeditError,
    InternalError,
    InvalidArgument,
    RequestError,
    Resource,
    TryLater,
    Violation,
    by_reason,
    from_status,
    to_status,
)
from imgedit.v1.error_reason_pb2 import ErrorReason

WIRE_CLASSES = sorted(by_reason().values(), key=lambda cls: cls.__name__)


def test_the_reasons_are_those_of_the_proto() -> None:
    declared = {name.removeprefix("ERROR_REASON_") for name, _ in ErrorReason.items()} - {"UNSPECIFIED"}
    assert set(by_reason()) == declared


def test_no_two_classes_share_a_reason() -> None:
    classes = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, ImgeditError) and vars(cls).get("reason")
    ]
    assert len({cls.reason for cls in classes}) == len(classes)


@pytest.mark.parametrize("cls", WIRE_CLASSES)
def test_an_error_survives_the_wire(cls: type[ImgeditError]) -> None:
    error = cls(
        "steps: must be 10 to 50, is 9",
        korean="단계는 10~50입니다.",
        violations=[Violation("steps", "must be 10 to 50, is 9")],
        resource=Resource("imgedit.v1.Experiment", "nobody"),
        retry_after_seconds=1.5,
        metadata={"stage": "fill", "request_id": "r-1"},
    )
    back = from_status(status_pb2.Status.FromString(to_status(error).SerializeToString()))
    assert type(back) is cls
    assert (back.message, back.korean) == (error.message, error.korean)
    assert (back.violations, back.resource) == (error.violations, error.resource)
    assert back.retry_after_seconds == 1.5
    assert (back.stage, back.request_id) == ("fill", "r-1")


def test_an_error_with_every_detail_fits_the_headers_of_a_call() -> None:
    known = ", ".join(f"experiment_{number}" for number in range(1000))
    found = errors.ExperimentNotFound.named("experiment_id", known, Resource("x", known), korean="가" * 9999)
    invalid = InvalidArgument(known, korean="가" * 9999, violations=[Violation("steps", known)] * 20)
    for error in (found, invalid):
        status = to_status(error)
        assert len(status.message) + 4 / 3 * status.ByteSize() < 8192


@pytest.mark.parametrize("cls", WIRE_CLASSES)
def test_every_error_has_a_korean_message_of_its_own(cls: type[ImgeditError]) -> None:
    [localized] = [
        message
        for detail in to_status(cls("what happened")).details
        if detail.Unpack(message := error_details_pb2.LocalizedMessage())
    ]
    assert localized.locale == "ko-KR"
    assert any("가" <= char <= "힣" for char in localized.message)


@pytest.mark.parametrize(
    ("code", "cls"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ServiceUnavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.RequestTooLarge),
        (grpc.StatusCode.CANCELLED, errors.EditCancelled),
        (grpc.StatusCode.UNIMPLEMENTED, errors.InternalError),
    ],
)
def test_a_bare_code_of_the_transport_has_a_class_too(code: grpc.StatusCode, cls: type[ImgeditError]) -> None:
    assert type(from_status(status_pb2.Status(code=code.value[0], message="no details"))) is cls


def test_a_foreign_domain_is_judged_by_its_code_alone() -> None:
    status = to_status(errors.QueueFull("full"))
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    info.domain = "example.com"
    status.details[0].Pack(info)
    assert type(from_status(status)) is errors.RequestTooLarge


def test_the_help_draws_every_class_under_its_base() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (inspect.getdoc(errors) or "").splitlines():
        if found := re.match(r"    ([│├└─ ]*)([A-Z]\w+)(?:  |$)", line):
            path = [*path[: len(found[1]) // 4], found[2]]
            drawn[found[2]] = path[-2] if len(path) > 1 else "Exception"
    classes = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, ImgeditError)}
    assert drawn == {cls.__name__: cls.__base__.__name__ for cls in classes if cls.__base__}


def test_every_error_that_may_pass_later_is_a_try_later() -> None:
    assert issubclass(DeadlineExceeded, TryLater)
    for cls in (EditCancelled, InternalError):
        assert not issubclass(cls, TryLater | RequestError)
