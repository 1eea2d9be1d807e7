"""Judges what Qwen2.5-VL wrote: whether its answer can stand in for the prompt. Knows text only."""

from __future__ import annotations

from collections import Counter

from imgedit.errors import RewriteFailed
from services.common import languages
from services.common.checks import MAX_PROMPT_CHARACTERS

READ = ("en",)
"""The languages that an answer may be written in, outside quotation marks."""

BROKEN = "\N{REPLACEMENT CHARACTER}"


def validate_rewrite(answer: str, prompt: str) -> str:
    """The answer as the prompt to use, without blanks or quotation marks around the whole of it.

    Raises `RewriteFailed` where it is empty, too long, holds broken characters or letters of another script than Latin
    that are not quoted in the prompt, or lacks a text that the prompt quotes.
    """
    wanted = languages.quoted(prompt)
    text = answer.strip()
    if not wanted and languages.quoted(text) == [text[1:-1]]:
        text = text[1:-1].strip()
    own = text
    for words in wanted:
        own = own.replace(words, " ", 1)
    if not any(character.isalnum() for character in text):
        raise failed("it is empty")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise failed(f"it has {len(text)} characters, more than {MAX_PROMPT_CHARACTERS}")
    if BROKEN in text:
        raise failed("it holds broken characters")
    if foreign := languages.foreign_letter(own, READ):
        raise failed(f"it still holds {languages.script_of(foreign).capitalize()} ({foreign!r})")
    if lost := Counter(wanted) - Counter(languages.quoted(text)):
        # Said by its place: errors are logged, prompts are not.
        raise failed(f"it lost the quoted text number {wanted.index(next(iter(lost))) + 1} of {len(wanted)}")
    return text


def failed(why: str) -> RewriteFailed:
    """The error for an answer that is of no use, with what to do."""
    return RewriteFailed(f"prompt: the language model's English version cannot be used: {why}; write it in English")
