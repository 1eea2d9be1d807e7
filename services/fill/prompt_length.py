"""How much of a prompt FLUX.1-Fill reads: tokens counted before truncation.

Thread-safe: it counts on copies of the tokenizers, because truncation is part of their state and the worker thread uses
them.
"""

import copy
from typing import Any

from services.fill.spec import FillSpec


class TokenCounter:
    """Counts for one pipeline's tokenizers. t5_tokens: how many T5 is given at most."""

    def __init__(self, clip: Any, t5: Any, t5_tokens: int) -> None:
        self._clip, self._t5, self._t5_tokens = copy.deepcopy(clip), copy.deepcopy(t5), t5_tokens

    def warnings(self, spec: FillSpec) -> tuple[str, ...]:
        """The parts of the spec's prompts without effect, in English; empty = none."""
        texts = {"prompt": spec.prompt, "negative_prompt": spec.negative_prompt or ""}
        return tuple(warning for field, text in texts.items() for warning in self._unread(field, text))

    def _unread(self, field: str, text: str) -> list[str]:
        clip = len(self._clip(text, verbose=False).input_ids)
        t5 = self._t5(text, verbose=False).input_ids
        unknown = t5.count(self._t5.unk_token_id)
        found = []
        if clip > self._clip.model_max_length:
            found.append(
                f"{field}: it has {clip} CLIP tokens and CLIP, which sets the overall look, read the first "
                f"{self._clip.model_max_length}; T5 reads up to {self._t5_tokens} tokens"
            )
        if len(t5) > self._t5_tokens:
            found.append(
                f"{field}: it has {len(t5)} T5 tokens and the model read the first {self._t5_tokens}; the rest had no "
                "effect: shorten it"
            )
        if unknown:
            found.append(f"{field}: {unknown} of its {len(t5)} T5 tokens are unknown to the model and had no effect")
        return found
