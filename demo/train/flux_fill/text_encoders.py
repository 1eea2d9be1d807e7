"""The text encoders of the demo's FLUX.1-Fill: real classes at small sizes.

Like the real ones, T5's vocabulary has no Hangul, so every Korean word is the same unknown token, and CLIP has every
byte. Both have tokens for the demo world's English words; other words are spelt letter by letter.
"""

from __future__ import annotations

import json
import math
import random
import re
import string
from collections import Counter
from typing import Any

from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5Tokenizer

from demo.tiny import tokenizers
from demo.world import prompts
from demo.world.guide import EXPANSIONS, TRANSLATIONS

T5_TOKENS = 40
"""The most pieces of a prompt that T5 is given. Few, since the transformer attends to all of them, blank or not."""

T5_WIDTH = 96
CLIP_WIDTH = 64
CLIP_PIECES = 1024
PHRASES = 6000
WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*|[^\sA-Za-z]")


def phrases() -> list[str]:
    """English that the tokenizers are made from."""
    rng = random.Random(0)
    found = [
        phrase.english for phrase in (prompts.sample(rng) for _ in range(PHRASES)) if not prompts.is_held_out(phrase)
    ]
    return [*found, *TRANSLATIONS.values(), *EXPANSIONS.values()]


def t5_tokenizer() -> T5Tokenizer:
    """Whole words of the demo world, and single Latin characters for all else."""
    counts = Counter(word for phrase in phrases() for word in WORD.findall(phrase) if word[0].isalpha())
    total = sum(counts.values())
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -6.0)]
    words = [
        (start + word, math.log(count / total) - penalty)
        for word, count in sorted(counts.items())
        for start, penalty in (("▁", 0.0), ("", 4.0))
        if start or len(word) > 1
    ]
    characters = string.ascii_letters + string.digits + string.punctuation + "".join(map(chr, range(0xC0, 0x100)))
    vocabulary = [*special, *words, *((character, -14.0) for character in characters)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=T5_TOKENS)


def clip_tokenizer() -> CLIPTokenizer:
    """Byte-level, with merges for the demo world's words.

    The end marker is the last piece, as in CLIP-L.
    """
    bare: Any = tokenizers.clip()
    learnt = bare.train_new_from_iterator(phrases(), vocab_size=CLIP_PIECES)
    merges: Any = [tuple(pair) for pair in json.loads(learnt.backend_tokenizer.to_str())["model"]["merges"]]
    inside = tokenizers.byte_alphabet()
    pieces = [*inside, *(piece + "</w>" for piece in inside), *(one + other for one, other in merges)]
    pieces = [*dict.fromkeys(pieces), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def t5_model(vocabulary: int) -> T5EncoderModel:
    """T5 v1.1's encoder (gated GELU), two layers."""
    config = T5Config(
        vocab_size=vocabulary,
        d_model=T5_WIDTH,
        d_kv=32,
        d_ff=2 * T5_WIDTH,
        num_layers=2,
        num_heads=3,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
    )
    return T5EncoderModel(config)


def clip_model(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """CLIP's text tower with two layers and 77 positions.

    A prompt's embedding is the output at the end marker.
    """
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=CLIP_WIDTH,
        intermediate_size=2 * CLIP_WIDTH,
        projection_dim=CLIP_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        attention_dropout=0.0,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)
