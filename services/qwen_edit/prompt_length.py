"""The positions of a prompt beside its images, and the transformer's limit.

Thread-safe: it counts on a copy of the tokenizer, which the worker thread uses.
"""

import copy
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imgedit.errors import PromptRejected, Violation
from services.qwen_edit.conditioning import Shape, presented, size_for

TEXT_STEP = 64
"""Text tokens are estimated up to the next multiple, so that jobs with prompts of about one length share a forward."""

_REMEMBERED = 256


class TokenCounter:
    """Counts for one pipeline. condition_pixels: area at which pictures are looked at."""

    def __init__(self, pipeline: Any, condition_pixels: int) -> None:
        self._template = pipeline.prompt_template_encode
        self._dropped = pipeline.prompt_template_encode_start_idx
        self._images = pipeline.processor.image_processor
        self._condition_pixels = condition_pixels
        rope = pipeline.transformer.pos_embed
        self._positions, self._is_centred = int(rope.pos_freqs.shape[0]), bool(rope.scale_rope)
        tokenizer = copy.deepcopy(pipeline.tokenizer)

        @lru_cache(_REMEMBERED)
        def count(text: str) -> int:
            return len(tokenizer(text, verbose=False).input_ids)

        self._count = count

    def work(self, prompts: Sequence[str], images: Sequence[NDArray[np.uint8]]) -> int:
        """Tokens of the longest of these prompts, rounded up, for the work estimate."""
        longest = max(self._text_tokens(prompt, images) for prompt in prompts)
        return -(-longest // TEXT_STEP) * TEXT_STEP

    def check(self, field: str, prompt: str, images: Sequence[NDArray[np.uint8]], shapes: Sequence[Shape]) -> None:
        """Raise `PromptRejected` for a prompt that exceeds the transformer's positions.

        shapes: (1, rows, columns) of the images; text positions follow theirs.
        """
        sides = [max(shape[1:]) for shape in shapes]
        first = max(side // 2 if self._is_centred else side for side in sides)
        surplus = self._text_tokens(prompt, images) + self._seen(images) - (self._positions - first)
        if surplus <= 0:
            return
        tokens = self._count(prompt)
        room = max(0, tokens - surplus)
        description = f"has {tokens} tokens, and the model reads at most {room} beside these pictures; shorten it"
        raise PromptRejected(
            f"{field}: {description}",
            korean=f"프롬프트가 {tokens}토큰입니다. 이 이미지와 함께 쓸 수 있는 길이는 {room}토큰까지이니 줄여 주세요.",
            violations=[Violation(field, description)],
        )

    def _text_tokens(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> int:
        """Tokens of the prompt, without the template's system part and the images."""
        text: str = self._template.format(presented(prompt, len(images)))
        return self._count(text) - int(self._dropped) - len(images)

    def _seen(self, images: Sequence[NDArray[np.uint8]]) -> int:
        """Qwen2.5-VL's tokens of the images."""
        patches = (self._images.get_number_of_image_patches(*size_for(self._condition_pixels, i), {}) for i in images)
        return int(sum(patches)) // int(self._images.merge_size) ** 2
