"""Validate Qwen2.5-VL's output as a replacement for the prompt."""

from __future__ import annotations

from collections import Counter

from imgedit.errors import RewriteFailed
from services.common import languages
from services.common.checks import MAX_PROMPT_CHARACTERS

READ = ("en",)
"""The languages that an answer may be written in, outside quotation marks."""

BROKEN = "\N{REPLACEMENT CHARACTER}"


def judged(answer: str, prompt: str) -> str:
    """The output as the prompt to use, without surrounding blanks and quotation marks.

    Raises `RewriteFailed` if it is empty, too long, has broken characters or unquoted non-Latin letters, or lacks a
    text that the prompt quotes.
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
        # Named by position: errors are logged, prompts are not.
        raise failed(f"it lost the quoted text number {wanted.index(next(iter(lost))) + 1} of {len(wanted)}")
    return text


def failed(why: str) -> RewriteFailed:
    """The error for an unusable output, with advice."""
    return RewriteFailed(f"prompt: the language model's English version cannot be used: {why}; write it in English")
