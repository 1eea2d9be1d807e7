"""Warnings in both languages, on the wire and back."""

from __future__ import annotations

import pytest

from imgedit.inference.v1 import fill_pb2
from imgedit.remarks import Remark, english, korean, read_remarks
from imgedit.result import EditResult, combined
from imgedit.v1 import edit_pb2

REMARKS = (Remark("prompt: too long", "프롬프트가 깁니다."), Remark("mask_image: empty", "마스크가 비었습니다."))


def test_both_languages_come_back_as_they_were_sent() -> None:
    sent = fill_pb2.FillResult(warnings=english(REMARKS), korean_warnings=korean(REMARKS))
    assert read_remarks(sent) == REMARKS


def test_a_server_of_an_earlier_release_is_understood() -> None:
    assert read_remarks(fill_pb2.FillResult(warnings=["old"])) == (Remark("old", "old"),)
    assert EditResult(edit_pb2.EditResponse(warnings=["old"])).korean_warnings == ["old"]


@pytest.mark.parametrize("second", [("a", "가"), ("b", "가")])
def test_the_warnings_of_several_results_stay_in_pairs(second: tuple[str, str]) -> None:
    whole = combined(
        [
            edit_pb2.EditResponse(warnings=["a"], korean_warnings=["가"]),
            edit_pb2.EditResponse(warnings=[second[0]], korean_warnings=[second[1]]),
        ]
    )
    assert list(zip(whole.warnings, whole.korean_warnings, strict=True)) == list(dict.fromkeys([("a", "가"), second]))
