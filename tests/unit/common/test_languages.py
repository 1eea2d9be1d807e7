"""The language of a prompt by its script, and what it quotes."""

import pytest

from services.common import languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("배경을 현대적인 체육관으로 변경", "ko"),
        ("배경을 gym으로", "ko"),
        ("ㅋㅋ", "ko"),
        ("背景をモダンなジムに変更", "ja"),
        ("タワー", "ja"),
        ("把背景换成现代健身房", "zh"),
        ("Фон: спортзал", "ru"),
        ("A modern gym, 3 people!", "en"),
        ("un café", "en"),
        ("ｇｙｍ", "en"),
        ("120 %!", "und"),
        ("", "und"),
        ("Change 'GYM' to '체육관'", "en"),
        ("티셔츠의 'GYM'을 'FITNESS'로 변경", "ko"),
        ("'체육관'", "und"),
    ],
)
def test_the_script_outside_quotation_marks_tells_the_language(text: str, language: str) -> None:
    assert languages.language_of(text) == language


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("티셔츠의 'GYM'을 'FITNESS'로 변경", ["GYM", "FITNESS"]),
        (
            '간판을 “헬스장”, 「체육관」, 『집』, ‘문’, «a», 《책》, "b"로',
            ["헬스장", "체육관", "집", "문", "a", "책", "b"],
        ),
        ("don't change the man's hat", []),
        ("the boys' and the girls' toys", []),
        ("write 'DON'T STOP' on it", ["DON'T STOP"]),
        ("write ‘don’t’ on it", ["don’t"]),
        ("'한글'을 '영어'로", ["한글", "영어"]),
        ("an open ' mark", []),
    ],
)
def test_quoted_text_is_told_from_apostrophes(text: str, quoted: list[str]) -> None:
    assert languages.quoted(text) == quoted


def test_letters_of_other_scripts_are_found_inside_quotation_marks_too() -> None:
    assert languages.foreign_letter("a sign with '체육관'", ("en",)) == "체"
    assert languages.foreign_letter("a sign with '체육관'", ("ko", "en")) == ""
    assert languages.foreign_letter("背景をジムに", ("ko", "en", "zh")) == "を"
    assert languages.foreign_letter("12 – 3 😀 'gym'", ("en",)) == ""


def test_a_decomposed_korean_prompt_is_korean() -> None:
    assert languages.language_of("\u1107\u1162\u1100\u1167\u11bc") == "ko"
