"""Qwen2's byte-level tokenizer with merges from the demo world's phrases.

Prompts of this world become short, mostly a token per word; other text falls back to bytes. Quoted words are excluded
from the merges: they stay letter by letter, so that unseen ones are copied as easily.
"""

from __future__ import annotations

import json
import random
from functools import cache
from typing import Any

from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import Qwen2Tokenizer

from demo.tiny.tokenizers import byte_alphabet
from demo.train.qwen_edit import chats
from demo.world.guide import EXPANSIONS, TRANSLATIONS
from services.common import languages
from services.qwen_edit.instructions import SYSTEM

PHRASES = 20_000
MERGES = 1_100
ALWAYS = 200
"""Weight of the text in every chat, so that each of its words becomes one token."""

VISION_TOKENS = (
    "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>",
    "<|quad_start|>", "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

MARKERS = ("<|endoftext|>", *VISION_TOKENS)


@cache
def trained(seed: int) -> Qwen2Tokenizer:
    """The tokenizer; the same seed gives the same, made once per process."""
    blank = Tokenizer(BPE())
    blank.normalizer, blank.pre_tokenizer = _reading()
    trainer = BpeTrainer(
        vocab_size=256 + MERGES, min_frequency=2, initial_alphabet=byte_alphabet(), show_progress=False
    )
    blank.train_from_iterator(_texts(random.Random(seed)), trainer)
    model = json.loads(blank.to_str())["model"]
    return made(list(model["vocab"]), [tuple(merge) for merge in model["merges"]])


def made(pieces: list[str], merges: Any) -> Qwen2Tokenizer:
    """From the pieces in order and the merges, which are pairs of them.

    The model's markers come last.
    """
    return Qwen2Tokenizer(
        vocab={piece: index for index, piece in enumerate([*pieces, *MARKERS])},
        merges=merges,
        extra_special_tokens=list(VISION_TOKENS),
        chat_template=CHAT_TEMPLATE,
        model_max_length=32_768,
    )


def _reading() -> tuple[Any, Any]:
    """How Qwen2 normalises a text and splits it into words."""
    backend = made(byte_alphabet(), []).backend_tokenizer
    return backend.normalizer, backend.pre_tokenizer


def _texts(rng: random.Random) -> list[str]:
    """Everything to be read and written, without what it quotes."""
    always = [*SYSTEM.values(), chats.edit_template(), "system\nuser\nassistant\n", "Picture 1: Picture 2: "]
    training_data = [*TRANSLATIONS, *TRANSLATIONS.values(), *EXPANSIONS, *EXPANSIONS.values(), chats.EXPANDED]
    phrases = [chats.varied(chats.phrase_to_learn(rng), rng) for _ in range(PHRASES)]
    asked = [text for phrase in phrases for text in (phrase.korean, phrase.english, f"{phrase.english},")]
    return [part for text in (*always * ALWAYS, *training_data * 10, *asked) for part in _without_quoted(text)]


def _without_quoted(text: str) -> list[str]:
    """The text cut where something is quoted.

    The quotation marks stay, so that they are read as they are in it.
    """
    parts, rest = [], text
    for words in languages.quoted(text):
        before, _, rest = rest.partition(words)
        parts.append(before)
    return [*(part for line in (*parts, rest) for part in line.replace("<|im_end|>", "\n").split("<|im_start|>"))]
