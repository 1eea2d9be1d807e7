"""Where a prompt asks a picture to be extended: its direction words, Korean and English."""

from __future__ import annotations

import re

WORDS = {
    "left": (r"왼쪽|왼편|좌측", r"\bleft\b"),
    "right": (r"오른쪽|오른편|우측", r"\bright\b"),
    "top": (r"위쪽|위로|위에|상단", r"\btop\b|\bupwards?\b|\babove\b"),
    "bottom": (r"아래|하단", r"\bbottom\b|\bdownwards?\b|\bbelow\b"),
}
BOTH_SIDES = re.compile(r"양옆|양쪽|좌우|both sides|\bwider\b", re.IGNORECASE)
ALL_SIDES = re.compile(r"사방|모든 방향|all sides|all around", re.IGNORECASE)


def sides(prompt: str) -> tuple[str, ...]:
    """The sides that the prompt names, in the order left, right, top, bottom; empty where it names none."""
    if ALL_SIDES.search(prompt):
        return tuple(WORDS)
    found = {side for side, patterns in WORDS.items() if re.search("|".join(patterns), prompt, re.IGNORECASE)}
    if BOTH_SIDES.search(prompt):
        found |= {"left", "right"}
    return tuple(side for side in WORDS if side in found)
