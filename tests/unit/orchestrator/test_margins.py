"""How far a picture is extended: margins, aspects, direction words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imgedit.errors import InvalidArgument
from imgedit.v1 import edit_pb2
from services.orchestrator.catalogue.experiments import MAX_MARGIN_PX, ExtendStage
from services.orchestrator.request import margins
from services.orchestrator.request.margins import Extension, Margins


def asked(prompt: str = "a gym", **outpaint: object) -> Extension:
    message = edit_pb2.Outpaint(**outpaint) if outpaint else None  # type: ignore[arg-type]
    return margins.resolve_margins(edit_pb2.EditRequest(prompt=prompt, outpaint=message), ExtendStage(), prompt)


def refused(prompt: str = "a gym", **outpaint: object) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        asked(prompt, **outpaint)
    return caught.value


def test_margins_are_taken_as_they_are() -> None:
    assert asked(left=1, bottom=4096).margins_of((100, 50), 0.25) == Margins(left=1, bottom=4096)


def test_margins_come_before_the_words_of_the_prompt() -> None:
    found = asked("왼쪽으로 확장", top=9)
    assert found.margins_of((100, 50), 0.25) == Margins(top=9)
    assert found.directions is None


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
@pytest.mark.parametrize("length", [-1, 4097])
def test_a_margin_out_of_range_is_refused_by_its_name(side: str, length: int) -> None:
    assert refused(**{side: length}).violations[0].field == f"outpaint.{side}"


@pytest.mark.parametrize("aspect", ["", "16/9", "16:0", "0:1", "16:9 ", "1.5:1", "-1:1", "10000:1", "１６:９"])
def test_an_aspect_that_is_not_two_whole_numbers_is_refused(aspect: str) -> None:
    assert refused(aspect=aspect).violations[0].field == "outpaint.aspect"


def test_an_aspect_and_margins_do_not_go_together_and_neither_do_no_margins() -> None:
    assert refused(aspect="1:1", left=1).violations[0].field == "outpaint"
    message = edit_pb2.EditRequest(prompt="왼쪽", outpaint=edit_pb2.Outpaint())
    with pytest.raises(InvalidArgument, match="leave it out to have the prompt's words decide"):
        margins.resolve_margins(message, ExtendStage(), message.prompt)


@settings(max_examples=100, deadline=None)
@given(width=st.integers(16, 2000), height=st.integers(16, 2000), across=st.integers(1, 32), down=st.integers(1, 32))
def test_an_aspect_is_reached_to_the_pixel_by_one_pair_of_margins(
    width: int, height: int, across: int, down: int
) -> None:
    extension = asked(aspect=f"{across}:{down}")
    try:
        found = extension.margins_of((width, height), 0.25)
    except InvalidArgument:
        return  # there already, or too far away
    wide, high = found.around((width, height))
    assert abs(wide - high * across / down) <= 0.5 + 0.5 * across / down
    assert not (found.left + found.right and found.top + found.bottom)
    assert found.right - found.left in (0, 1)
    assert found.bottom - found.top in (0, 1)


def test_an_aspect_that_is_there_already_or_too_far_away_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="has this aspect already"):
        asked(aspect="2:1").margins_of((200, 100), 0.25)
    with pytest.raises(InvalidArgument, match=str(MAX_MARGIN_PX)):
        asked(aspect="99:1").margins_of((2000, 1000), 0.25)


def test_a_direction_adds_its_part_of_the_side_and_says_which_word_it_was() -> None:
    found = asked("왼쪽과 아래로 확장")
    assert found.margins_of((1000, 600), 0.25) == Margins(left=250, bottom=150)
    assert found.directions is not None
    assert found.directions.words == ("왼쪽", "아래로")


def test_without_a_direction_the_refusal_explains_in_both_languages() -> None:
    error = refused("배경을 현대적인 체육관으로 변경")
    assert error.violations[0].field == "outpaint"
    assert "both sides" in error.message
    for word in ("왼쪽", "오른쪽", "위쪽", "아래쪽", "양옆", "상하", "사방"):
        assert word in error.korean
        assert asked(f"{word} 확장").directions is not None
