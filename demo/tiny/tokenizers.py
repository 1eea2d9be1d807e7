"""Tokenizers built from scratch for the tiny checkpoints, deterministic.

They have characters and bytes, no words, so that every text has a well-defined encoding. They keep the important
properties of the real ones: CLIP's is byte-level with 77 positions, T5's has no Hangul (a Korean word becomes `<unk>`,
and two Korean prompts get the same ids).
"""

import string

from transformers import CLIPTokenizer, T5Tokenizer


def byte_alphabet() -> list[str]:
    """The 256 characters of byte-level BPE (GPT-2's table), in byte order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def clip() -> CLIPTokenizer:
    """A byte-level CLIP tokenizer.

    512 byte pieces (inside and at the end of a word) and CLIP's two markers.
    """
    inside = byte_alphabet()
    pieces = [*inside, *(piece + "</w>" for piece in inside), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[], model_max_length=77)


def t5() -> T5Tokenizer:
    """A unigram tokenizer of single Latin characters.

    Digits, punctuation, Latin-1 letters, and no Hangul.
    """
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    characters = string.ascii_letters + string.digits + string.punctuation + "".join(map(chr, range(0xC0, 0x100)))
    sentinels = [(f"<extra_id_{index}>", 0.0) for index in reversed(range(100))]
    vocab = [*special, *((character, -4.0) for character in characters), *sentinels]
    return T5Tokenizer(vocab=vocab, model_max_length=512)
