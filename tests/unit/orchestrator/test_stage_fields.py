"""Errors of model services name the fields as the caller of the edit knows them."""

from __future__ import annotations

import pytest

from imgedit.errors import InvalidArgument
from services.orchestrator.backends.clients import _FILL_FIELDS, _QWEN_EDIT_FIELDS
from services.orchestrator.backends.stage_calls import _rename


@pytest.mark.parametrize(
    ("fields", "inner", "outer"),
    [
        (_QWEN_EDIT_FIELDS, "images[0]", "input_image"),
        (_QWEN_EDIT_FIELDS, "images[2]", "reference_images[1]"),
        (_QWEN_EDIT_FIELDS, "true_cfg_scale", "guidance_scale"),
        (_QWEN_EDIT_FIELDS, "prompt", "prompt"),
        (_FILL_FIELDS, "mask.encoding", "mask_image.encoding"),
        (_FILL_FIELDS, "image", "input_image"),
    ],
)
def test_a_field_of_a_service_becomes_that_of_the_request(fields: dict[str, str], inner: str, outer: str) -> None:
    error = InvalidArgument.field(inner, "must be better", korean=f"{inner} 값이 올바르지 않습니다.")
    _rename(error, fields)
    assert [violation.field for violation in error.violations] == [outer]
    assert error.message == f"{outer}: must be better"
    assert error.korean == f"{outer} 값이 올바르지 않습니다."


def test_a_text_that_only_begins_alike_stays() -> None:
    error = InvalidArgument.field("image", "is odd", korean="imagery")
    _rename(error, _FILL_FIELDS)
    assert error.korean == "imagery"
