"""Prompts of the demo's world: two languages, one meaning, a held-out share."""

from __future__ import annotations

import random
import re

import pytest

from demo import world
from demo.world import prompts
from demo.world.guide import TRANSLATIONS
from demo.world.prompts import Phrase

HANGUL = re.compile("[가-힣]")


@pytest.fixture(scope="module")
def phrases() -> set[Phrase]:
    rng = random.Random(world.HELD_OUT_SEEDS.start)
    return {prompts.sample(rng) for _ in range(40_000)}


def test_the_english_has_no_korean_and_the_korean_has(phrases):
    assert not [phrase for phrase in phrases if HANGUL.search(phrase.english) or not phrase.english.isascii()]
    assert all(HANGUL.search(phrase.korean) for phrase in phrases)


def test_a_korean_phrase_has_one_translation(phrases):
    assert len({phrase.korean for phrase in phrases}) == len(phrases)


def test_the_guides_prompts_are_among_them_word_for_word(phrases):
    guide = {Phrase(korean, english) for korean, english in TRANSLATIONS.items() if HANGUL.search(korean)}
    assert guide <= phrases
    assert not [phrase for phrase in guide if prompts.is_held_out(phrase)]


def test_about_15_percent_are_held_out_and_always_the_same_ones(phrases):
    held_out = {phrase for phrase in phrases if prompts.is_held_out(phrase)}
    assert 0.12 < len(held_out) / len(phrases) < 0.18
    assert held_out == {phrase for phrase in phrases if prompts.is_held_out(Phrase(phrase.korean, phrase.english))}


def test_no_word_of_a_held_out_phrase_is_new(phrases):
    taught = {word for phrase in phrases if not prompts.is_held_out(phrase) for word in _words(phrase)}
    asked = {word for phrase in phrases if prompts.is_held_out(phrase) for word in _words(phrase)}
    assert asked <= taught


@pytest.mark.parametrize("kind", world.BACKGROUNDS)
def test_every_background_can_be_asked_for_by_taught_and_by_held_out_phrases(kind):
    for colour in world.PLAIN_COLOURS if kind == "plain" else ("",):
        wordings = prompts.backgrounds(kind, colour)
        assert len(set(wordings)) == len(wordings)
        assert prompts.background(kind, colour, random.Random(1)) in wordings
        assert not all(prompts.is_held_out(phrase) for phrase in wordings)
    everything = [
        phrase
        for colour in (world.PLAIN_COLOURS if kind == "plain" else ("",))
        for phrase in prompts.backgrounds(kind, colour)
    ]
    assert any(prompts.is_held_out(phrase) for phrase in everything)


def test_particles_follow_the_word_before_them(phrases):
    for phrase in phrases:
        for syllable in re.findall("([가-힣])으로 ", phrase.korean):
            assert (ord(syllable) - 0xAC00) % 28 not in (0, 8), phrase
        for syllable in re.findall("([가-힣])를 ", phrase.korean):
            assert (ord(syllable) - 0xAC00) % 28 == 0, phrase


def test_what_is_asked_stands_in_both_languages():
    rng = random.Random(3)
    assert "왼쪽" in prompts.extend("tree", "left", rng).korean
    assert "right" in prompts.extend("beach", "right", rng).english
    assert "purple" in prompts.recolour("purple", "red", rng).english
    assert "YOGA" in prompts.change_word("GYM", "YOGA", rng).korean
    assert "bottle" in prompts.add("water bottle", rng).english
    assert "glasses" in prompts.remove_glasses(rng).english
    assert "reference" in prompts.like_reference(rng).english
    assert "bench" in prompts.background_with("park", "bench", rng).english


def _words(phrase: Phrase) -> set[str]:
    return {f"ko {word}" for word in phrase.korean.split()} | {f"en {word}" for word in phrase.english.split()}
