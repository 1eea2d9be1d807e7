"""The conditions for a language model's output to replace the prompt."""

import pytest

from imgedit.errors import RewriteFailed
from services.qwen_edit.rewrite_check import judged

KOREAN = "배경을 체육관으로 변경"
QUOTING = "티셔츠의 'GYM'을 'FITNESS'로 변경"


@pytest.mark.parametrize(
    ("answer", "prompt", "used"),
    [
        ("  Change it to a gym \n", KOREAN, "Change it to a gym"),
        ('"Change it to a gym"', KOREAN, "Change it to a gym"),
        ("Change 'GYM' to 'FITNESS'", QUOTING, "Change 'GYM' to 'FITNESS'"),
        ("Change “GYM” to “FITNESS”", QUOTING, "Change “GYM” to “FITNESS”"),
        ("Write '체육관' on the wall", "벽에 '체육관' 쓰기", "Write '체육관' on the wall"),
        ("'A' and 'A'", "'A'와 'A'", "'A' and 'A'"),
    ],
)
def test_a_good_answer_is_used(answer: str, prompt: str, used: str) -> None:
    assert judged(answer, prompt) == used


@pytest.mark.parametrize(
    ("answer", "prompt", "why"),
    [
        ("", KOREAN, "empty"),
        (" … ", KOREAN, "empty"),
        ("Change it to 체육관", KOREAN, "Hangul"),
        ("Change it to '체육관'", KOREAN, "Hangul"),
        ("换成健身房", KOREAN, "Cjk"),
        ("Change 'GYM' on the T-shirt", QUOTING, "number 2 of 2"),
        ("Change GYM to FITNESS", QUOTING, "number 1 of 2"),
        ("Change 'gym' to 'FITNESS'", QUOTING, "number 1 of 2"),
        ("Write 'gym' on the wall", "벽에 '체육관' 쓰기", "number 1 of 1"),
        ("Put 'A' there", "'A'와 'A'", "number 1 of 2"),
        ("Change\N{REPLACEMENT CHARACTER}", KOREAN, "broken"),
        ("gym " * 600, KOREAN, "2000"),
    ],
)
def test_a_bad_answer_fails_and_says_why(answer: str, prompt: str, why: str) -> None:
    with pytest.raises(RewriteFailed, match=why):
        judged(answer, prompt)
