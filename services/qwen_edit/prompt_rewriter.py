"""Rewrite prompts with the pipeline's own Qwen2.5-VL: no second copy, no sampling.

Translates Korean prompts to English for FLUX.1-Fill, and expands prompts. `services.orchestrator.request.prompts`
decides which prompts need it.

Belongs to the worker thread.
"""

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from services.diffusion.networks import finite
from services.qwen_edit.rewrite_check import failed
from services.qwen_edit.rewrite_instructions import RewriteSpec, chat

END = "<|im_end|>"
FILLER = "<|endoftext|>"


class PromptRewriter:
    """Generates outputs.

    model: a `Qwen2_5_VLForConditionalGeneration`. processor: text and images → token ids and patches. device: where the
    model computes. service: named when numbers are not finite.
    """

    def __init__(self, model: Any, processor: Any, device: torch.device, *, service: str) -> None:
        self._model, self._processor, self._device = model, processor, device
        tokenizer = processor.tokenizer
        self._service = service
        self._ends = [tokenizer.convert_tokens_to_ids(END), tokenizer.convert_tokens_to_ids(FILLER)]

    @torch.inference_mode()
    def write(self, spec: RewriteSpec, pictures: list[Image.Image], should_stop: Callable[[], bool]) -> str:
        """The model's greedy output, so the same prompt always gives the same output.

        pictures: those of the spec at the size for Qwen2.5-VL. Stops at the next token when `should_stop` returns true.
        Raises `RewriteFailed` if the output is not complete by then, and `NumericFailure`.
        """
        text = chat(spec.mode, spec.prompt, len(pictures))
        inputs = self._processor(text=[text], images=pictures or None, return_tensors="pt").to(self._device)
        tokens = self._model.generate(
            **inputs,
            generation_config=self._greedy(spec.max_tokens),
            stopping_criteria=StoppingCriteriaList([_Stop(should_stop)]),
            logits_processor=LogitsProcessorList([_AreFinite(self._service)]),
        )
        answer = tokens[0, inputs["input_ids"].shape[1] :].tolist()
        if answer[-1] not in self._ends and not should_stop():
            raise failed(f"it does not end within {spec.max_tokens} tokens")
        written: str = self._processor.tokenizer.decode(answer, skip_special_tokens=True)
        return written

    def _greedy(self, max_tokens: int) -> GenerationConfig:
        """Explicit settings, since a checkpoint's own sample and penalise repetition."""
        return GenerationConfig(  # type: ignore[no-untyped-call]
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            temperature=1.0,
            top_p=1.0,
            top_k=50,
            max_new_tokens=max_tokens,
            eos_token_id=self._ends,
            pad_token_id=self._ends[1],
        )


class _AreFinite(LogitsProcessor):
    """Stops the generation when the next token's scores are not finite."""

    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:  # (B, V)
        finite.check_finite(self._service, "rewrite", scores)
        return scores


class _Stop(StoppingCriteria):
    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop

    def __call__(self, input_ids: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:  # (B,) bool
        return torch.full((input_ids.shape[0],), self._should_stop(), dtype=torch.bool, device=input_ids.device)
