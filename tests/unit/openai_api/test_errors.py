"""Our errors as OpenAI's: which of them an SDK sends again by itself."""

from __future__ import annotations

import pytest

from imgedit.errors import DeadlineExceeded, ImgeditError, InvalidArgument, OutOfMemory, QueueFull, WouldMissDeadline
from services.openai_api import errors


@pytest.mark.parametrize(
    ("cls", "again"),
    [
        (QueueFull, "true"),
        (OutOfMemory, "false"),
        (DeadlineExceeded, "false"),  # the SDK would send it with the same time
        (WouldMissDeadline, "false"),
        (InvalidArgument, "false"),
    ],
)
def test_an_sdk_sends_again_what_can_pass_as_it_is(cls: type[ImgeditError], again: str) -> None:
    assert errors.headers(cls("no"))["x-should-retry"] == again
