"""Training chats of the demo's language model, with the expected answers.

Most are the demo world's phrases and their English. Quoted words are often made up, so that the model learns copying
instead of six words. Unknown words are answered with themselves: the service then rejects the non-English output.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from PIL import Image

from demo import world
from demo.world import prompts
from demo.world.guide import EXPANSIONS, TRANSLATIONS
from demo.world.prompts import Phrase
from services.qwen_edit.instructions import PICTURE, chat

EXPANDED = ", in a clean style with bright and soft lighting"
"""The expansion of most phrases of the world."""

UNKNOWN = (
    "강아지", "고양이", "도서관", "사무실", "우주", "자동차", "비행기", "바나나", "커피", "의자", "소파", "책상",
    "모자", "신발", "가방", "우산", "시계", "꽃", "장미", "숲", "호수", "강", "다리", "궁전", "학교", "병원", "식당",
    "카페", "시장", "지하철", "기차", "버스", "자전거", "오토바이", "로봇", "공룡", "용", "천사", "마법사", "왕관",
    "반지", "목걸이", "수염", "눈썹", "입술", "미소", "치마", "드레스", "양복", "한복", "코트", "장갑", "양말",
    "벨트", "풍선", "케이크", "선물", "촛불", "불꽃", "번개", "무지개", "구름", "달", "별", "폭포", "사막", "동굴",
    "화산", "섬", "농장", "정원", "창문", "커튼", "거울", "액자", "그림", "수채화", "유화", "만화", "흑백", "사진",
    "포스터", "간판", "글씨", "무늬", "줄무늬", "체크", "가죽", "금속", "유리", "나비", "새", "물고기", "말", "사자",
    "호랑이", "곰", "토끼", "여우", "축구", "농구", "야구", "수영", "요리", "노래", "춤", "기타", "피아노",
    "해 질 녘", "새벽", "안개", "먼지", "연기", "두 마리", "세 명", "더 크게", "더 작게", "선명하게", "흐리게",
    "늙게", "젊게", "웃게", "지워 줘", "그려 줘", "돌려 줘", "gym", "LED", "3D",
)  # fmt: skip
"""Words that are not of this world; those that measures use are others."""

UNKNOWN_HELD_OUT = (
    "원숭이", "코끼리", "박물관", "공항", "극장", "치킨", "냉장고", "컴퓨터", "전화기", "바이올린", "태권도",
    "겨울왕국", "해바라기", "선인장", "등대", "잠수함", "우체국", "놀이공원", "수족관", "궁수", "해적", "망토",
    "넥타이", "턱시도", "보라매", "갈매기", "소나기", "노을", "오로라", "빙하",
)  # fmt: skip

PARTICLES = ("", "", "을", "를", "으로", "로", "에", "에서", "의", "이", "가", "처럼")
QUOTES = (("'", "'"), ("'", "'"), ('"', '"'), ("‘", "’"), ("“", "”"), ("「", "」"))
ENDINGS = ("해 줘", "해줘", "해 주세요", "해주세요")
POLITE_ENDINGS = ("줘", " 주세요", "주세요")
VERBS = {"변경": "Change", "교체": "Replace", "추가": "Add", "확장": "Extend", "제거": "Remove"}

_QUOTED = re.compile(r"'([^']+)'")
_ON_A_SHIRT = re.compile(r"Change (?P<old>.+) on the T-shirt to (?P<new>\W.+)")


@dataclass(frozen=True)
class Chat:
    """A chat: the prompt part, the answer, and the images."""

    question: str
    answer: str
    pictures: tuple[Image.Image, ...] = ()


def taught(rng: random.Random) -> Chat:
    """One chat without pictures."""
    kinds = (_translation, _lesson, _expansion, _condition, _refusal)
    return rng.choices(kinds, (52, 7, 19, 8, 14))[0](rng)


def shown(rng: random.Random) -> Chat:
    """One chat about a picture, which the answer does not depend on."""
    made = _expansion(rng, pictures=1) if rng.random() < 0.6 else _condition(rng, pictures=rng.choice((1, 1, 2)))
    return replace(made, pictures=tuple(_picture(rng) for _ in range(made.question.count(PICTURE))))


def all_lessons() -> list[Chat]:
    """Chats to memorise: each of the guide's prompts."""
    translations = [Chat(chat("translate", prompt), answer) for prompt, answer in TRANSLATIONS.items()]
    return [*translations, *(Chat(chat("expand", prompt), answer) for prompt, answer in EXPANSIONS.items())]


def phrase_to_learn(rng: random.Random) -> Phrase:
    """A phrase of the world that is not held out."""
    while prompts.is_held_out(phrase := prompts.sample(rng)):
        pass
    return phrase


def held_out_phrases(seed: int, count: int) -> list[Phrase]:
    """Different phrases that were not taught."""
    rng = random.Random(world.HELD_OUT_SEEDS[seed])
    found: dict[str, Phrase] = {}
    while len(found) < count:
        if prompts.is_held_out(phrase := prompts.sample(rng)):
            found[phrase.korean] = phrase
    return list(found.values())


def varied(phrase: Phrase, rng: random.Random) -> Phrase:
    """The same with other quoted words, quotation marks, politeness or a full stop."""
    korean, english = _politely(phrase, rng) if rng.random() < 0.3 else (phrase.korean, phrase.english)
    quoted = _QUOTED.findall(korean)
    if quoted:
        opening, closing = rng.choice(QUOTES)
        for old in quoted:
            new = old if rng.random() < 0.35 else made_up(rng)
            korean, english = (text.replace(f"'{old}'", f"{opening}{new}{closing}") for text in (korean, english))
    elif rng.random() < 0.05:
        korean += "."
    return Phrase(korean, english)


def expanded(phrase: Phrase) -> str:
    """How a phrase is written out.

    As the guide's own example of a text on a T-shirt, where it is like that.
    """
    if match := _ON_A_SHIRT.fullmatch(phrase.english):
        return f"Change {match['old']} on the cotton T-shirt to {match['new']} in bold white letters"
    return phrase.english + EXPANDED


def made_up(rng: random.Random) -> str:
    """One or two words that mean nothing.

    Mostly upper case, sometimes with digits, rarely in lower case or Hangul.
    """
    words = [_made_up_word(rng) for _ in range(rng.choice((1, 1, 1, 2)))]
    return " ".join(words)


def with_unknown(phrase: Phrase, unknown: Sequence[str], rng: random.Random) -> str:
    """The Korean with one of its words replaced by a word that is not of this world."""
    words = phrase.korean.split()
    place = rng.randrange(len(words))
    words[place] = rng.choice(unknown) + rng.choice(PARTICLES)
    if len(words) > 2 and rng.random() < 0.3:
        del words[rng.randrange(len(words))]
        if not set(words) - set(phrase.korean.split()):
            words.append(rng.choice(unknown))
    return " ".join(words)


@cache
def edit_template() -> str:
    """The pipeline's chat about an edit's prompt and images."""
    parts = dict.fromkeys(("scheduler", "vae", "text_encoder", "tokenizer", "processor", "transformer"))
    template: str = QwenImageEditPlusPipeline(**parts).prompt_template_encode
    return template


def _translation(rng: random.Random) -> Chat:
    phrase = _often_quoting(rng)
    return Chat(chat("translate", phrase.korean), phrase.english)


def _often_quoting(rng: random.Random) -> Phrase:
    """Copying is harder to learn than words."""
    phrase = phrase_to_learn(rng)
    if rng.random() < 0.3:
        while not _QUOTED.search(phrase.korean):
            phrase = phrase_to_learn(rng)
    return varied(phrase, rng)


def _lesson(rng: random.Random) -> Chat:
    return rng.choice(all_lessons())


def _expansion(rng: random.Random, pictures: int = 0) -> Chat:
    if rng.random() < 0.4:
        prompt, answer = rng.choice(tuple(EXPANSIONS.items()))
        return Chat(chat("expand", prompt, pictures), answer)
    phrase = _often_quoting(rng)
    if phrase.korean in EXPANSIONS:
        return Chat(chat("expand", phrase.korean, pictures), EXPANSIONS[phrase.korean])
    asked = phrase.english if rng.random() < 0.3 else phrase.korean
    return Chat(chat("expand", asked, pictures), expanded(phrase))


def _condition(rng: random.Random, pictures: int = 0) -> Chat:
    """The chat that conditions an edit.

    Its answer is never generated: it has the model read both languages alike.
    """
    phrase = varied(phrase_to_learn(rng), rng)
    marks = "".join(f"Picture {number}: {PICTURE}" for number in range(1, pictures + 1))
    asked = phrase.english if rng.random() < 0.4 else phrase.korean
    return Chat(edit_template().format(marks + asked), phrase.english)


def _refusal(rng: random.Random) -> Chat:
    chance = rng.random()
    if chance < 0.25:
        prompt = " ".join(rng.choice(UNKNOWN) + rng.choice(PARTICLES) for _ in range(rng.randint(1, 4)))
    elif chance < 0.6:
        prompt = with_unknown(phrase_to_learn(rng), UNKNOWN, rng)
    else:
        prompt = with_unknown(phrase_to_learn(rng), [_syllables(rng) for _ in range(3)], rng)
    if not any("가" <= character <= "힣" for character in prompt):
        prompt += f" {rng.choice(UNKNOWN)}"
    return Chat(chat("translate" if rng.random() < 0.7 else "expand", prompt), prompt)


def _politely(phrase: Phrase, rng: random.Random) -> tuple[str, str]:
    """Rephrase a request that ends in a bare noun or in a verb; others stay."""
    korean, english = phrase.korean, phrase.english
    if korean.endswith(" 줘"):
        return korean.removesuffix(" 줘") + rng.choice(POLITE_ENDINGS), english
    verb = next((verb for verb in VERBS if korean.endswith(verb)), None)
    if verb is None or not english.startswith(VERBS[verb]):
        return korean, english
    return korean + rng.choice(ENDINGS), f"Please {english[0].lower()}{english[1:]}"


def _made_up_word(rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.12:
        return "".join(rng.choices(string.digits, k=rng.randint(1, 4)))
    if chance < 0.2:
        return _syllables(rng)
    if chance < 0.3:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 8))).title()
    letters = string.ascii_uppercase if chance < 0.9 else string.ascii_uppercase + string.digits
    return "".join(rng.choices(letters, k=rng.randint(2, 10)))


def _syllables(rng: random.Random) -> str:
    return "".join(chr(rng.randrange(0xAC00, 0xD7A4)) for _ in range(rng.randint(1, 4)))


def _picture(rng: random.Random) -> Image.Image:
    """A scene of the world, or noise, at one of many small sizes."""
    width, height = rng.randrange(56, 225, 28), rng.randrange(56, 225, 28)
    if rng.random() < 0.3:
        noise = np.random.default_rng(rng.getrandbits(64)).integers(0, 256, (height, width, 3), np.uint8)
        return Image.fromarray(noise)
    drawn = world.render(world.sample(random.Random(rng.choice(world.TRAINING_SEEDS)), width=width, height=height))
    return Image.fromarray(drawn.rgb)
