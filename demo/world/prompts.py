"""Prompts for every kind of edit, in Korean and English, in several wordings.

The English is the expected translation. A fixed share of the combinations is held out: training skips them, measures
use them. No single word is held out, so every word of a held-out phrase occurs in others.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass

from demo.world.scene import BACKGROUNDS, COLOURS, HANDHELD, PROPS, WORDS

HELD_OUT_SHARE = 0.15


@dataclass(frozen=True)
class Phrase:
    """The same request in two languages."""

    korean: str
    english: str


KOREAN_COLOURS = {
    "red": "빨간색",
    "blue": "파란색",
    "green": "초록색",
    "yellow": "노란색",
    "purple": "보라색",
    "orange": "주황색",
    "white": "하얀색",
    "black": "검은색",
    "pink": "분홍색",
    "grey": "회색",
}
_PLACES = {
    "gym": ("체육관", "gym"),
    "park": ("공원", "park"),
    "beach": ("해변", "beach"),
    "night city": ("도시의 밤거리", "city street at night"),
    "brick wall": ("벽돌 벽", "brick wall"),
    "snowy mountains": ("눈 덮인 산", "snowy mountain landscape"),
    "running track": ("육상 트랙", "running track"),
}
_LOOKS = {
    "gym": (("현대적인", "modern"), ("밝은", "bright"), ("넓은", "spacious"), ("밝은 현대적인", "bright modern")),
    "park": (("야외", "outdoor"), ("푸른", "green"), ("넓은", "spacious"), ("조용한", "quiet")),
    "beach": (("맑은", "sunny"), ("모래", "sandy"), ("조용한", "quiet"), ("여름", "summer")),
    "night city": (("화려한", "colourful"), ("현대적인", "modern"), ("조용한", "quiet")),
    "brick wall": (("낡은", "old"), ("거친", "rough"), ("붉은", "reddish")),
    "snowy mountains": (("맑은", "sunny"), ("겨울", "winter"), ("조용한", "quiet")),
    "running track": (("넓은", "spacious"), ("야외", "outdoor"), ("밝은", "bright")),
}
_THINGS = {
    "exercise equipment": ("운동 기구", "exercise equipment"),
    "tree": ("나무", "a tree"),
    "bench": ("벤치", "a bench"),
    "ball": ("짐볼", "an exercise ball"),
    "street lamp": ("가로등", "a street lamp"),
    "parasol": ("파라솔", "a parasol"),
}
_SIDES = {"left": "왼쪽", "right": "오른쪽"}
_HELD = {"dumbbell": ("아령", "dumbbell"), "water bottle": ("물병", "water bottle")}
_NEGATIVES = {
    "흐릿함": "blurry",
    "낮은 품질": "low quality",
    "왜곡": "distorted",
    "못생김": "ugly",
    "변형": "deformed",
    "여분의 손가락": "extra fingers",
    "이상한 손": "bad hands",
}

# Wordings with the same meaning. Which one the English takes goes by the Korean, so that a translation has one answer.
_CHANGES = (
    ("배경을 {place}으로 변경", "Change the background to {a place}"),
    ("배경을 {place}으로 바꿔 줘", "Please change the background to {a place}"),
    ("배경을 {place}으로 교체", "Replace the background with {a place}"),
    ("뒤를 {place}으로 변경", "Change what is behind to {a place}"),
)


def background(kind: str, colour: str, rng: random.Random) -> Phrase:
    """Asks for another place; `colour` is "" unless the place is plain."""
    return rng.choice(backgrounds(kind, colour))


def backgrounds(kind: str, colour: str = "") -> tuple[Phrase, ...]:
    """Every wording that asks for this place."""
    places: list[tuple[str, str]]
    if kind == "plain":
        korean = KOREAN_COLOURS[colour]
        places = [(f"{korean} 단색", f"plain {colour}"), (f"단순한 {korean}", f"simple {colour}")]
    else:
        korean, english = _PLACES[kind]
        places = [(korean, english)]
        places += [(f"{look} {korean}", f"{word} {english}") for look, word in _LOOKS[kind]]
    return tuple(
        _change(wording, korean, english if kind == "plain" else _with_article(english))
        for korean, english in places
        for wording in _CHANGES
    )


def background_with(kind: str, prop: str, rng: random.Random) -> Phrase:
    """Asks for another place that has a certain thing in it."""
    return rng.choice(backgrounds_with(kind, prop))


def backgrounds_with(kind: str, prop: str) -> tuple[Phrase, ...]:
    """Every wording that asks for this place with that thing."""
    korean_thing, thing = _THINGS[prop]
    return tuple(
        Phrase(f"{phrase.korean}, {korean_thing} 포함", f"{phrase.english}, with {thing}")
        for phrase in backgrounds(kind)
        if phrase.english.startswith("Change the background")
    )


def extend(wanted: str, side: str, rng: random.Random) -> Phrase:
    """Asks for a thing, or for more of a place, at the side "left" or "right"."""
    return rng.choice(extensions(wanted, side))


def extensions(wanted: str, side: str) -> tuple[Phrase, ...]:
    """Every wording that asks for this at that side."""
    where = _SIDES[side]
    if wanted in PROPS:
        korean, english = _THINGS[wanted]
        return (
            Phrase(f"{where}에 {korean} 추가", f"Add {english} on the {side}"),
            Phrase(f"{where}에 {korean}{_object(korean)} 넣어 줘", f"Please put {english} on the {side}"),
            Phrase(f"{where}으로 확장하고 {korean} 추가", f"Extend to the {side} and add {english}"),
        )
    if wanted == "plain":
        return (
            Phrase(f"{where}으로 확장", f"Extend to the {side}"),
            Phrase(f"{where}으로 넓혀 줘", f"Please widen to the {side}"),
        )
    korean, english = _PLACES[wanted]
    return (
        Phrase(f"{korean}{_object(korean)} {where}으로 확장", f"Extend the {english} to the {side}"),
        Phrase(f"{korean}{_object(korean)} {where}으로 넓혀 줘", f"Please widen the {english} to the {side}"),
    )


def place(kind: str, colour: str = "") -> Phrase:
    """The name of this place; `colour` is that of a plain one."""
    if kind == "plain":
        return Phrase(f"{KOREAN_COLOURS[colour]} 단색", f"plain {colour}")
    return Phrase(*_PLACES[kind])


def held(holding: str) -> Phrase:
    """The name of the held object."""
    return Phrase(*_HELD[holding])


def recolour(old: str | None, new: str, rng: random.Random) -> Phrase:
    """Asks for another colour of the sportswear's top.

    `old` names the one it has, where that is said.
    """
    return rng.choice(recolours(old, new))


def recolours(old: str | None, new: str) -> tuple[Phrase, ...]:
    """Every wording that asks for this colour."""
    to, after = KOREAN_COLOURS[new], f"to {new}"
    if old is None:
        return (
            Phrase(f"운동복을 {to}으로 변경", f"Change the sportswear {after}"),
            Phrase(f"상의를 {to}으로 변경", f"Change the top {after}"),
            Phrase(f"티셔츠를 {to}으로 바꿔 줘", f"Please change the T-shirt {after}"),
        )
    was = KOREAN_COLOURS[old]
    return (
        Phrase(f"{was} 운동복을 {to}으로 변경", f"Change the {old} sportswear {after}"),
        Phrase(f"운동복을 {was}에서 {to}으로 변경", f"Change the sportswear from {old} {after}"),
        Phrase(f"운동복의 상의를 {was}에서 {to}으로 변경", f"Change the top of the sportswear from {old} {after}"),
        Phrase(f"{was} 티셔츠를 {to}으로 바꿔 줘", f"Please change the {old} T-shirt {after}"),
    )


def add(holding: str, rng: random.Random) -> Phrase:
    """Asks for something in the hand."""
    return rng.choice(additions(holding))


def additions(holding: str) -> tuple[Phrase, ...]:
    """Every wording that asks for this in the hand."""
    korean, english = _HELD[holding]
    return (
        Phrase(f"손에 {korean} 추가", f"Add a {english} in the hand"),
        Phrase(f"손에 {korean}{_object(korean)} 들려 줘", f"Please put a {english} in the hand"),
        Phrase(f"{korean}{_object(korean)} 든 모습으로 변경", f"Change it to holding a {english}"),
    )


def remove_glasses(rng: random.Random) -> Phrase:
    """Asks for the face without glasses."""
    return rng.choice(glasses_removals())


def glasses_removals() -> tuple[Phrase, ...]:
    """Every wording that asks for no glasses."""
    return (
        Phrase("안경 제거", "Remove the glasses"),
        Phrase("안경을 제거해 줘", "Please remove the glasses"),
        Phrase("얼굴에서 안경 제거", "Remove the glasses from the face"),
        Phrase("안경을 벗겨 줘", "Please take off the glasses"),
    )


def change_word(old: str, new: str, rng: random.Random) -> Phrase:
    """Asks for another word on the shirt."""
    return rng.choice(word_changes(old, new))


def word_changes(old: str, new: str) -> tuple[Phrase, ...]:
    """Every wording that asks for this word instead of that one."""
    return (
        Phrase(f"티셔츠의 '{old}'을 '{new}'로 변경", f"Change '{old}' on the T-shirt to '{new}'"),
        Phrase(f"'{old}' 글자를 '{new}'로 바꿔 줘", f"Please change the text '{old}' to '{new}'"),
        Phrase(f"상의의 '{old}'을 '{new}'로 교체", f"Replace '{old}' on the top with '{new}'"),
    )


def like_reference(rng: random.Random) -> Phrase:
    """Asks for the look of a second picture."""
    return rng.choice(reference_requests())


def reference_requests() -> tuple[Phrase, ...]:
    """Every wording that asks for the look of a second picture."""
    return (
        Phrase("참조 이미지의 스타일로 변경", "Change it to the style of the reference image"),
        Phrase("참조 이미지처럼 바꿔 줘", "Please change it to look like the reference image"),
        Phrase("참조 이미지의 색상으로 변경", "Change it to the colours of the reference image"),
    )


GUIDE = (
    Phrase("배경 변경", "Change the background"),
    Phrase("색상 변경", "Change the colour"),
    Phrase("예쁘게", "Make it pretty"),
    Phrase("전문적이고 깔끔한 스타일, 밝은 조명", "Professional and clean style, bright lighting"),
    Phrase("안경을 전체적인 색상으로 제거", "Remove the glasses in the overall colour"),
    Phrase("흐릿함, 낮은 품질, 왜곡, 못생김, 변형", "blurry, low quality, distorted, ugly, deformed"),
    Phrase("흐릿함, 여분의 손가락, 이상한 손", "blurry, extra fingers, bad hands"),
)
"""Phrases of the guide without a template: vague requests and negative prompts. Never held out."""


def negative(rng: random.Random) -> Phrase:
    """A negative prompt of two to five words."""
    chosen = rng.sample(tuple(_NEGATIVES), rng.randint(2, 5))
    return Phrase(", ".join(chosen), ", ".join(_NEGATIVES[word] for word in chosen))


def sample(rng: random.Random) -> Phrase:
    """Any of them; held-out ones too, which teaching must skip."""
    kind = rng.choice(BACKGROUNDS)
    colour = rng.choice(tuple(COLOURS))
    other = rng.choice([name for name in COLOURS if name != colour])
    old, new = rng.sample(WORDS, 2)
    side = rng.choice(tuple(_SIDES))
    makers = (
        lambda: background(kind, colour if kind == "plain" else "", rng),
        lambda: background_with(rng.choice(tuple(_PLACES)), rng.choice(PROPS), rng),
        lambda: extend(rng.choice(PROPS + PROPS + BACKGROUNDS), side, rng),
        lambda: recolour(rng.choice((None, colour, colour)), other, rng),
        lambda: add(rng.choice(HANDHELD), rng),
        lambda: change_word(old, new, rng),
        lambda: rng.choice((*glasses_removals(), *reference_requests(), *GUIDE)),
        lambda: negative(rng),
    )
    weights = (6, 4, 4, 5, 1, 3, 2, 1)
    return rng.choices(makers, weights)[0]()


def is_held_out(phrase: Phrase) -> bool:
    """Whether this combination is kept for measuring.

    About 15% of those whose words others teach too.
    """
    if phrase in _NEVER_HELD_OUT:
        return False
    digest = hashlib.sha256(phrase.korean.encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT_SHARE * 2**32


def _change(wording: tuple[str, str], korean: str, english: str) -> Phrase:
    korean_wording, english_wording = wording
    return Phrase(
        korean_wording.replace("{place}으로", korean + _towards(korean)), english_wording.replace("{a place}", english)
    )


def _with_article(english: str) -> str:
    return f"{'an' if english[0] in 'aeiou' else 'a'} {english}"


def _last_consonant(word: str) -> int:
    """The number of the final consonant of a Korean word's last syllable.

    0 means that it ends with a vowel.
    """
    return (ord(word[-1]) - 0xAC00) % 28


def _towards(word: str) -> str:
    """The particle "to": 으로 after a consonant other than ㄹ, else 로."""
    return "로" if _last_consonant(word) in (0, 8) else "으로"


def _object(word: str) -> str:
    """The particle of the object: 을 after a consonant, else 를."""
    return "을" if _last_consonant(word) else "를"


def _guide_prompts() -> tuple[Phrase, ...]:
    """The guide's own examples that templates give, word for word."""
    return (
        Phrase("배경을 현대적인 체육관으로 변경", "Change the background to a modern gym"),
        Phrase("배경을 야외 공원으로 변경", "Change the background to an outdoor park"),
        Phrase(
            "배경을 밝은 현대적인 체육관으로 변경, 운동 기구 포함",
            "Change the background to a bright modern gym, with exercise equipment",
        ),
        Phrase("파란색 운동복을 빨간색으로 변경", "Change the blue sportswear to red"),
        Phrase("운동복을 파란색에서 빨간색으로 변경", "Change the sportswear from blue to red"),
        Phrase("운동복의 상의를 파란색에서 빨간색으로 변경", "Change the top of the sportswear from blue to red"),
        Phrase("운동복을 빨간색으로 변경", "Change the sportswear to red"),
        Phrase("왼쪽에 운동 기구 추가", "Add exercise equipment on the left"),
        Phrase("오른쪽에 운동 기구 추가", "Add exercise equipment on the right"),
        Phrase("티셔츠의 'GYM'을 'FITNESS'로 변경", "Change 'GYM' on the T-shirt to 'FITNESS'"),
    )


def _all(phrases: Sequence[Sequence[Phrase]]) -> frozenset[Phrase]:
    return frozenset(phrase for group in phrases for phrase in group)


_NEVER_HELD_OUT = _all(
    (
        GUIDE,
        _guide_prompts(),
        glasses_removals(),
        reference_requests(),
        additions("dumbbell"),
        additions("water bottle"),
    )
)
