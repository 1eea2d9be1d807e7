"""Prompts mean the same in every normal form, and are counted as people see them."""

from __future__ import annotations

import unicodedata

import pytest

from imgedit.errors import PromptRejected
from services.common import checks, texts
from services.orchestrator.request import directions

FORMS = {
    "composed": "오른쪽으로 넓혀줘",
    "single letters": unicodedata.normalize("NFD", "오른쪽으로 넓혀줘"),
    "zero-width space": "오른\u200b쪽으로 넓혀줘",
    "zero-width space between letters": "\u200b".join(unicodedata.normalize("NFD", "오른쪽으로 넓혀줘")),
    "joiners and marks": "\ufeff오\u2060른\u200d쪽\u200e으로 넓혀줘",
    "full width": "ｅｘｔｅｎｄ　ｒｉｇｈｔ",
    "no-break space": "extend to the\u00a0right",
    "soft hyphen": "extend to the ri\u00adght",
}


@pytest.mark.parametrize("form", FORMS)
def test_a_direction_counts_in_every_form(form: str) -> None:
    assert directions.read(FORMS[form]).sides == ("right",)


def test_a_prompt_reaches_the_model_composed_and_with_its_emoji() -> None:
    assert texts.normal(unicodedata.normalize("NFD", "하늘") + "\u200b") == "하늘"
    family = "👨\u200d👩\u200d👧 ❤\ufe0f"
    assert texts.normal(family) == family


def test_characters_are_counted_as_people_see_them() -> None:
    checks.prompt("prompt", unicodedata.normalize("NFD", "값" * 2000))
    checks.prompt("prompt", "a\u200b" * 2000)
    with pytest.raises(PromptRejected, match="has 2001"):
        checks.prompt("prompt", unicodedata.normalize("NFD", "값" * 2001))


@pytest.mark.parametrize("text", ["\u200b", "\ufeff \u2060", "\u3164", "\u200d"])
def test_a_prompt_of_nothing_to_be_seen_is_empty(text: str) -> None:
    with pytest.raises(PromptRejected, match="must not be empty"):
        checks.prompt("prompt", text)


def test_marks_that_no_writing_has_are_left_out_before_they_are_sorted() -> None:
    usual = "Z" + "\u0301\u0316" * 15
    assert texts.normal(usual) == unicodedata.normalize("NFC", usual)
    assert texts.normal(usual + "\u0300" * 10**6) == texts.normal(usual)  # sorted, this would take hours
    assert texts.comparable(usual + "\u0316\u0301" * 10**5 + "b") == texts.comparable(usual + "b")


def test_a_prompt_of_very_many_characters_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(text: str) -> str:
        raise AssertionError(f"{len(text)} characters were looked at")

    monkeypatch.setattr(texts, "normal", look)
    monkeypatch.setattr(texts, "comparable", look)
    for text in ("a" * 16_001, "a\u0301" * 10**6):
        with pytest.raises(PromptRejected, match=f"at most 2000 characters, has {len(text)}"):
            checks.prompt("prompt", text)
