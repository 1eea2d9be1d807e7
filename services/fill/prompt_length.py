"""How much of a prompt FLUX.1-Fill reads: tokens counted before truncation.

Thread-safe: it counts on copies of the tokenizers, because truncation is part of their state and the worker thread uses
them.
"""

import copy
from typing import Any

from imgedit.remarks import Remark, Remarks
from services.fill.spec import FillSpec

_KOREAN_NAMES = {"prompt": "프롬프트", "negative_prompt": "제외할 내용(negative_prompt)"}


class TokenCounter:
    """Counts for one pipeline's tokenizers. t5_tokens: how many T5 is given at most."""

    def __init__(self, clip: Any, t5: Any, t5_tokens: int) -> None:
        self._clip, self._t5, self._t5_tokens = copy.deepcopy(clip), copy.deepcopy(t5), t5_tokens

    def warnings(self, spec: FillSpec) -> Remarks:
        """The parts of the spec's prompts without effect; empty = none."""
        texts = {"prompt": spec.prompt, "negative_prompt": spec.negative_prompt or ""}
        return tuple(warning for field, text in texts.items() for warning in self._unread(field, text))

    def _unread(self, field: str, text: str) -> list[Remark]:
        clip = len(self._clip(text, verbose=False).input_ids)
        t5 = self._t5(text, verbose=False).input_ids
        unknown = t5.count(self._t5.unk_token_id)
        found, named = [], _KOREAN_NAMES[field]
        if clip > self._clip.model_max_length:
            most = self._clip.model_max_length
            found.append(
                Remark(
                    f"{field}: it has {clip} CLIP tokens and CLIP, which sets the overall look, read the first {most}; "
                    f"T5 reads up to {self._t5_tokens} tokens",
                    f"{named}의 CLIP 토큰 {clip}개 중 앞의 {most}개만 전체 분위기에 쓰였습니다. "
                    f"T5는 {self._t5_tokens}개까지 읽습니다.",
                )
            )
        if len(t5) > self._t5_tokens:
            found.append(
                Remark(
                    f"{field}: it has {len(t5)} T5 tokens and the model read the first {self._t5_tokens}; the rest had "
                    "no effect: shorten it",
                    f"{named}의 T5 토큰 {len(t5)}개 중 앞의 {self._t5_tokens}개만 쓰였습니다. 더 짧게 쓰세요.",
                )
            )
        if unknown:
            found.append(
                Remark(
                    f"{field}: {unknown} of its {len(t5)} T5 tokens are unknown to the model and had no effect",
                    f"{named}의 T5 토큰 {len(t5)}개 중 {unknown}개는 모델이 모르는 글자라 쓰이지 않았습니다.",
                )
            )
        return found
