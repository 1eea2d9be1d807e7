"""Tokenizers built from scratch for the tiny checkpoints: no training, no download, the same every time.

They know characters and bytes, no words, so that every text has a well-defined encoding. What matters about the
real ones is kept: CLIP's is byte-level with 77 positions, T5's has no Hangul (a Korean word becomes `<unk>`, and two
Korean prompts become the same ids), Qwen's falls back to bytes and so reads any language.
"""

import string

from transformers import CLIPTokenizer, Qwen2Tokenizer, T5Tokenizer

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


def byte_alphabet() -> list[str]:
    """The 256 characters that stand for the 256 bytes in byte-level BPE (GPT-2's table), in byte order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]


def clip() -> CLIPTokenizer:
    """A byte-level CLIP tokenizer: 512 byte pieces (inside and at the end of a word) and CLIP's two markers."""
    inside = byte_alphabet()
    pieces = [*inside, *(piece + "</w>" for piece in inside), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[], model_max_length=77)


def t5() -> T5Tokenizer:
    """A unigram tokenizer of single Latin characters: digits, punctuation, Latin-1 letters, and no Hangul."""
    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    characters = string.ascii_letters + string.digits + string.punctuation + "".join(map(chr, range(0xC0, 0x100)))
    sentinels = [(f"<extra_id_{index}>", 0.0) for index in reversed(range(100))]
    vocab = [*special, *((character, -4.0) for character in characters), *sentinels]
    return T5Tokenizer(vocab=vocab, model_max_length=512)


def qwen2() -> Qwen2Tokenizer:
    """A byte-level Qwen2 tokenizer with the chat and vision markers that Qwen2.5-VL uses."""
    pieces = [*byte_alphabet(), "<|endoftext|>", *VISION_TOKENS]
    return Qwen2Tokenizer(
        vocab={piece: index for index, piece in enumerate(pieces)},
        merges=[],
        extra_special_tokens=list(VISION_TOKENS),
        chat_template=CHAT_TEMPLATE,
        model_max_length=32_768,
    )
