"""The language of a prompt by its script, and its quoted text.

A script only limits the possible languages: Latin letters count as English, Han without kana as Chinese. Quoted text
will be painted, so it does not count.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

UNDETERMINED = "und"

SCRIPTS: dict[str, tuple[str, ...]] = {
    "ko": ("HANGUL",),
    "ja": ("HIRAGANA", "KATAKANA", "CJK"),
    "zh": ("CJK",),
    "ru": ("CYRILLIC",),
    "ar": ("ARABIC",),
    "el": ("GREEK",),
    "he": ("HEBREW",),
    "hi": ("DEVANAGARI",),
    "th": ("THAI",),
    "en": ("LATIN",),
}
"""ISO 639-1 codes and the scripts that they are written with. A text takes the first language of which it holds a
letter of the first script; kana decides between Japanese and Chinese."""

_ALIASES = {"IDEOGRAPHIC": "CJK", "KATAKANA-HIRAGANA": "KATAKANA", "MODIFIER": ""}

_QUOTED = re.compile(
    r"(?<![A-Za-z0-9])'(?P<single>[^\n]+?)'(?![A-Za-z0-9])"
    r'|"(?P<double>[^"\n]+)"'
    r"|‘(?P<curly>[^\n]+?)’(?![A-Za-z0-9])"
    r"|“(?P<curly_double>[^”\n]+)”|「(?P<corner>[^」\n]+)」|『(?P<white>[^』\n]+)』"
    r"|«(?P<guillemet>[^»\n]+)»|《(?P<title>[^》\n]+)》"
)
"""An apostrophe inside or after a word (don't, the boys') opens and closes nothing."""


def quoted(text: str) -> list[str]:
    """The quoted texts without their marks, in order.

    '…', "…", ‘…’, “…”, 「…」, 『…』, «…», 《…》.
    """
    return [match[match.lastgroup or 0] for match in _QUOTED.finditer(text)]


def unquoted(text: str) -> str:
    """The text without quoted parts."""
    return _QUOTED.sub(" ", text)


def language_of(text: str) -> str:
    """The language of the unquoted text, as ISO 639-1 code.

    "und" if it has no letters, or none of a known script.
    """
    scripts = {script_of(letter) for letter in _letters(unquoted(text))}
    if scripts & {"HIRAGANA", "KATAKANA"} and "HANGUL" not in scripts:
        return "ja"
    return next((language for language, known in SCRIPTS.items() if known[0] in scripts), UNDETERMINED)


def foreign_letter(text: str, languages: Sequence[str]) -> str:
    """The first letter outside the scripts of these languages; "" = none.

    Quoted text counts too.
    """
    known = {script for language in languages for script in SCRIPTS[language]} | {""}
    return next((letter for letter in _letters(text) if script_of(letter) not in known), "")


@lru_cache(maxsize=4096)
def script_of(letter: str) -> str:
    """The script of a letter by its Unicode name, for instance "HANGUL"; "" = none."""
    script = unicodedata.name(letter, "UNKNOWN").split()[0]
    return _ALIASES.get(script, script)


def _letters(text: str) -> Iterator[str]:
    """Map full-width and other compatibility forms to their letters."""
    return (letter for letter in unicodedata.normalize("NFKC", text) if letter.isalpha())
