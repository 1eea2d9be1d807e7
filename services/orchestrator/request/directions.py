"""Direction words of an outpainting prompt, Korean and English.

A word counts where it names a direction. It does not count inside another word (위치, bright, laptop), nor for a part
of the body (왼쪽 손, left hand), a gaze (오른쪽을 바라보는), a place on an object (테이블 위에), a garment (tank top)
or a passage of the text (아래와 같이). The rules are patterns without a grammar. Ambiguous words are ignored: an edit
without a direction is rejected with an explanation, one with a wrong direction is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from services.common import texts

Side = Literal["left", "right", "top", "bottom"]

CONTEXT = 80
"""Characters before a word that can change what it means."""

SIDES: tuple[Side, ...] = get_args(Side)


@dataclass(frozen=True)
class Directions:
    """Left, right, top and bottom as flags, and the direction words in prompt order."""

    sides: tuple[Side, ...] = ()
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Word:
    """A direction word and its position in the prompt."""

    start: int
    end: int
    text: str
    sides: tuple[Side, ...]


def read(prompt: str) -> Directions:
    """The sides that the prompt names, without excluded ones (왼쪽 말고).

    The prompt is normalised first, so decomposed Hangul and full-width letters count.
    """
    prompt = texts.comparable(prompt)
    words = list(_direction_words(prompt))
    ruled_out = {side for word in words if _is_ruled_out(word, prompt) for side in word.sides}
    used = [word for word in words if not ruled_out.issuperset(word.sides)]
    named = {side for word in used for side in word.sides} - ruled_out
    return Directions(
        sides=tuple(side for side in SIDES if side in named),
        words=tuple(dict.fromkeys(word.text for word in used)),
    )


def _direction_words(prompt: str) -> Iterator[_Word]:
    """The words in prompt order; of overlapping words (상하 in 상하좌우) the longest."""
    matches = [
        (match, meaning.sides)
        for meaning in _MEANINGS
        for match in meaning.word.finditer(prompt)
        if _ends_with(prompt, match.start(), meaning.only_behind)
    ]
    end = 0
    for match, sides in sorted(matches, key=lambda found: (found[0].start(), -found[0].end())):
        if match.start() >= end and not _means_something_else(match, prompt):
            end = match.end()
            yield _Word(match.start(), end, match.group(), sides)


def _means_something_else(match: re.Match[str], prompt: str) -> bool:
    if _OTHERWISE_BEHIND.match(prompt, match.end()) or _ends_with(prompt, match.start(), _OTHERWISE_BEFORE):
        return True
    return match.group() in ("위", "아래", "밑") and _ends_with(prompt, match.start(), _THING_BEFORE)


def _is_ruled_out(word: _Word, prompt: str) -> bool:
    return bool(_RULED_OUT_BEHIND.match(prompt, word.end)) or _ends_with(prompt, word.start, _RULED_OUT_BEFORE)


def _ends_with(prompt: str, end: int, pattern: re.Pattern[str]) -> bool:
    """Whether the prompt up to `end` ends with the pattern.

    Only the last words are checked, which bounds the time.
    """
    return pattern.search(prompt, max(0, end - CONTEXT), end) is not None


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.IGNORECASE)


@dataclass(frozen=True)
class _Meaning:
    """A pattern for direction words.

    `only_behind`: the required end of the text before the word.
    """

    sides: tuple[Side, ...]
    word: re.Pattern[str]
    only_behind: re.Pattern[str]

    @classmethod
    def of(cls, sides: tuple[Side, ...], word: str, *, only_behind: str = "") -> _Meaning:
        return cls(sides, _pattern(word), _pattern(f"(?:{only_behind})$"))


# No Hangul before: 순위로 and 비상단추 do not count, but 맨위로 and 이미지상단 do.
_ALONE = r"(?:(?<![가-힣])|(?<=맨)|(?<=쪽)|(?<=사진)|(?<=화면)|(?<=그림)|(?<=이미지))"
# 위 and 아래 need a particle, another side or a verb of direction behind them.
_AS_SIDE = (
    r"(?=에(?!서)|[를을만]|[와랑]\s|하고\s|\s*(?:$|[,./·&+])"
    r"|\s+(?:및|\d|왼|오른|좌|우|확장|여백|공간|추가|늘|넓|연장))"
)
_IS_EXTENDED = r"(?=.{0,14}(?:확장|늘|넓|연장|키우|키워))"
_EXTEND = r"\b(?:extend|expand|outpaint|stretch|enlarge|widen|grow)(?:s|ed|ing)?(?:\s+\w+){0,4}\s+"
_SIDE = r"\b(?:left|right|top|bottom)"
_AND = r"(?:\s*[,/&+]\s*|\s+)(?:and\s+|or\s+)?(?:the\s+)?"
_EDGE_BEHIND = (
    r"(?=\s*(?:$|[.,;:!)])|[ -](?:side|edge|margin|border|part|half|end|area|left|right)\b"
    r"|\s+of\s+(?:(?:the|this|my)\s+)?(?:image|picture|photo|photograph|frame|canvas|scene)\b|\s+(?:and|or|with|by)\s)"
)


def _edges(sides: tuple[Side, ...], word: str, way: str) -> tuple[_Meaning, ...]:
    """`top` and `bottom`, also common nouns, and up or down after a verb like extend."""
    return (
        _Meaning.of(sides, rf"\b{word}\b{_EDGE_BEHIND}", only_behind=r"\b(?:the|at|on|to|from)\s+"),
        _Meaning.of(sides, rf"\b{word}\b(?={_AND}{_SIDE}\b)"),
        _Meaning.of(sides, rf"\b{word}\b", only_behind=rf"{_SIDE}{_AND}|{_EXTEND}"),
        _Meaning.of(sides, rf"\b{word}\b(?=\s*(?:[:,]|$))", only_behind=r"^\s*"),
        _Meaning.of(sides, rf"\b{way}\b", only_behind=_EXTEND),
    )


_MEANINGS = (
    _Meaning.of(("left",), r"왼\s?[쪽편]|좌측|(?<![a-z])left(?:wards?)?(?![a-z])"),
    _Meaning.of(("right",), r"오른\s?[쪽편]|우측|(?<![a-z])right(?:wards?)?(?![a-z])"),
    _Meaning.of(("top",), rf"{_ALONE}(?:위\s?(?:[쪽편]|방향|부분)|윗\s?(?:쪽|부분)|위로(?![하받해])|위까지|상단)"),
    _Meaning.of(("top",), rf"{_ALONE}위{_AS_SIDE}|(?<!the )\babove\b|\bupwards?\b"),
    *_edges(("top",), "top", "up"),
    _Meaning.of(("bottom",), rf"{_ALONE}(?:아래\s?(?:[쪽편]|방향|부분)|아랫\s?(?:쪽|부분)|아래로|아래까지|하단)"),
    _Meaning.of(("bottom",), rf"{_ALONE}(?:밑\s?(?:쪽|부분)|밑으로)"),
    _Meaning.of(("bottom",), rf"{_ALONE}(?:아래|밑){_AS_SIDE}|(?<!the )\bbelow\b|\bdownwards?\b"),
    *_edges(("bottom",), "bottom", "down"),
    _Meaning.of(("left", "right"), rf"양\s?[옆쪽측편]|{_ALONE}양방향|좌우|{_ALONE}(?:가로로|옆으로){_IS_EXTENDED}"),
    _Meaning.of(("left", "right"), r"\b(?:both|either|each)\s+(?:sides?|directions?)\b|\bhorizontally\b|\bsideways\b"),
    _Meaning.of(("top", "bottom"), rf"{_ALONE}(?:위\s?아래(?!와\s?같)|세로로{_IS_EXTENDED})|\bvertically\b"),
    _Meaning.of(("top", "bottom"), rf"{_ALONE}상하(?=[로에를의]|\s?방향|\s|$|[,.])"),
    _Meaning.of(SIDES, rf"{_ALONE}(?:사방|전\s?방향|네\s?(?:방향|면|쪽)|상하좌우)|좌우상하|모든\s?(?:방향|쪽|면)"),
    _Meaning.of(SIDES, rf"{_ALONE}바깥(?:쪽)?으로{_IS_EXTENDED}"),
    _Meaning.of(SIDES, r"\b(?:all|every|four)\s+(?:four\s+)?(?:sides?|directions?|edges?)\b|\ball\s+around\b"),
)

_BODY = "손|팔|다리|발|눈|귀|어깨|볼|뺨|무릎|손목|발목|손가락|허벅지|가슴|옆구리|주먹|팔꿈치"
_OTHERWISE_BEHIND = _pattern(
    rf"의?\s?(?:{_BODY})(?:[에을를이가은는의도만]|으?로|과|와|\s|[,.]|$)"  # 왼쪽 손
    r"|[을를으]?로?\s?(?:바라|쳐다|응시|내려다|올려다|보는|보고)"  # 오른쪽을 바라보는
    r"|[와의]?\s?(?:같|내용|설명|조건|문장|예시)"  # 아래와 같이
    r"|[- ]hand(?:ed|s)?\b(?!\s+side)"
    r"|\s+(?:arm|leg|foot|feet|eye|ear|shoulder|knee|cheek|wrist|elbow|ankle|thumb|fist|sleeve|shoe|glove|brain)s?\b"
    r"|\s+(?:now|away|here|there|before|after|next|behind|over|alone|out|in front|angles?)\b"
    r"|\s+(?:lighting|style|colou?rs?|tone|amount|size|kind|way|time|moment|balance|mood|place)\b"
    r"|\s+(?:zero|average|freezing|line of)\b|\s+for\s+details\b|\s+(?:mentioned|described)\b"
)
_OTHERWISE_BEFORE = _pattern(
    r"\b(?:facing|faces|looks?|looking|turn(?:s|ed|ing)?|gazing|points?|pointing)\s+(?:to\s+)?(?:(?:the|his|her)\s+)?$"
    r"|\b(?:is|are|was|were|has|have|had|nothing|anything|all|what)\s+$"
    r"|\b(?:see|as|described|mentioned|listed|shown|said)\s+$"
)
_PICTURE_OR_SUBJECT = "이미지|사진|그림|화면|캔버스|프레임|인물|사람|피사체|머리|남자|여자|모델|발"
_THING_BEFORE = _pattern(
    rf"(?<![가-힣])(?!(?:{_PICTURE_OR_SUBJECT})의?\s)"
    r"(?!(?:그리고|또는|그럼|이제|맨|제일|가장|더|좀|조금|살짝|바로|많이)\s)"
    r"(?![가-힣]*(?:를|로|은|는|하고|하며|해서|면서|하게|쪽|편|측|와|과|및)\s)(?!(?:하늘|공간|여백|배경|바닥)[을이]\s)"
    r"[가-힣A-Za-z]+\s+$"
)
_RULED_OUT_BEHIND = _pattern(r"(?:으로|로|에)?[은는을를이가]?\s?(?:말고|빼고|빼|제외|아닌|아니라|하지\s?말)")
_RULED_OUT_BEFORE = _pattern(r"\b(?:not|except|excluding|without)\s+(?:for\s+)?(?:(?:on|at|to|from)\s+)?(?:the\s+)?$")
