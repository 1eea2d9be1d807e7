"""The instructions for Qwen2.5-VL to rewrite a prompt, and the chat around them.

The chat is ChatML, the model's training format. Imports neither torch nor proto types.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from imgedit.imaging.images import Pixels

Mode = Literal["translate", "expand"]

SYSTEM: dict[Mode, str] = {
    "translate": (
        "Translate the picture-editing instruction into English. Keep text in quotation marks exactly as it is. "
        "Answer with the English instruction only."
    ),
    "expand": (
        "Write the picture-editing instruction out in English: be specific, describe the object, name the style and "
        "the light. Keep its meaning, and text in quotation marks exactly as it is. Answer with the instruction only."
    ),
}
"""For `expand` these are the guide's three pieces of advice on writing prompts."""

PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"


@dataclass(frozen=True)
class RewriteSpec:
    """One prompt to rewrite.

    max_tokens: limit of the output. images: 0 to 3 images (H, W, 3) uint8 as context.
    """

    mode: Mode
    prompt: str
    max_tokens: int
    images: tuple[Pixels, ...] = ()


def chat(mode: Mode, prompt: str, pictures: int = 0) -> str:
    """The chat up to the start of the model's output.

    One placeholder per image, before the prompt.
    """
    shown = "".join(f"Picture {number}: {PICTURE}" for number in range(1, pictures + 1))
    return (
        f"<|im_start|>system\n{SYSTEM[mode]}<|im_end|>\n"
        f"<|im_start|>user\n{shown}{prompt}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )
