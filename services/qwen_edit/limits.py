"""Reject inputs that Qwen2.5-VL cannot read, by field.

Imports no torch.
"""

from __future__ import annotations

import re

from imgedit.errors import ImageRejected, PromptRejected, Violation
from imgedit.imaging.images import Pixels

MAX_ASPECT = 200
"""Of Qwen2.5-VL's image processor, long side to short."""

CONTROL = re.compile(r"<\|\w+\|>")
"""The model's own markers; a prompt that held one could end its turn or stand for a picture."""


def check_prompt(field: str, text: str) -> None:
    """Raise `PromptRejected` for a text with a control marker."""
    if marker := CONTROL.search(text):
        description = f"must not hold the language model's control marker {marker[0]!r}"
        raise PromptRejected(
            f"{field}: {description}",
            korean=f"프롬프트에 언어 모델의 제어 표시({marker[0]})를 쓸 수 없습니다.",
            violations=[Violation(field, description)],
        )


def check_aspect(field: str, image: Pixels) -> None:
    """Raise `ImageRejected` for an image (H, W, 3) that is too long and narrow."""
    height, width = image.shape[:2]
    if max(width, height) > MAX_ASPECT * min(width, height):
        description = f"is {width}x{height} px; this model reads pictures up to {MAX_ASPECT}:1"
        raise ImageRejected(
            f"{field}: {description}",
            korean=f"이 모델은 가로세로 비율 {MAX_ASPECT}:1까지만 처리합니다.",
            violations=[Violation(field, description)],
        )
