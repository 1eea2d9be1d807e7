"""Unicode normalisation: texts that look the same compare as equal.

macOS writes Hangul as single letters (NFD), Korean and Japanese keyboards can write full-width letters, and copied text
contains zero-width characters.
"""

from __future__ import annotations

import re
import unicodedata

_WITHOUT_MEANING = re.compile("[\u00ad\u200b\u2060\ufeff]")
"""Soft hyphen, zero-width space, word joiner, byte order mark."""

_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e0fff]"
)
"""Unicode's Default_Ignorable_Code_Point: nothing is shown for them."""


def normal(text: str) -> str:
    """The composed text (NFC) without invisible characters.

    Joiners of emoji and scripts stay.
    """
    return unicodedata.normalize("NFC", _WITHOUT_MEANING.sub("", text))


def comparable(text: str) -> str:
    """The text for word search.

    Compatibility forms mapped (NFKC), without invisible characters.
    """
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
