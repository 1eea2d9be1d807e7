"""Texts in a normal form.

What looks the same to a person is the same text, however a keyboard or a file wrote it.

macOS writes Hangul as single letters (NFD), Korean and Japanese keyboards can write full-width letters, and copied text
holds characters without a width. Knows nothing of languages or models.
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
    """The same text, composed (NFC) and without characters that mean nothing.

    Joiners of emoji and scripts stay.
    """
    return unicodedata.normalize("NFC", _WITHOUT_MEANING.sub("", text))


def comparable(text: str) -> str:
    """A text to look for words in.

    Compatibility forms as what they stand for (NFKC), without invisible characters.
    """
    return unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
