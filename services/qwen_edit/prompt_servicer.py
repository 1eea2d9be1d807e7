"""PromptService: rewrites a prompt so that the models can read it.

Knows proto types and the engine, not torch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from imgedit.errors import DeadlineExceeded, InvalidArgument, quoted
from imgedit.inference.v1 import prompt_pb2, prompt_pb2_grpc
from imgedit.v1 import progress_pb2
from services.common import checks, languages, pixels
from services.common.call_context import Context, deadline_of
from services.diffusion.service import EngineSlot
from services.qwen_edit import limits
from services.qwen_edit.instructions import Mode, RewriteSpec
from services.qwen_edit.rewrite_check import READ, failed, judged

if TYPE_CHECKING:
    from services.qwen_edit.model import QwenEditAdapter

MODEL_ID = "Qwen2.5-VL"
MAX_IMAGES = 3

_MODES: dict[int, Mode] = {
    prompt_pb2.REWRITE_MODE_TRANSLATE: "translate",
    prompt_pb2.REWRITE_MODE_EXPAND: "expand",
}
_OUTCOMES: dict[Mode, prompt_pb2.RewriteOutcome] = {
    "translate": prompt_pb2.REWRITE_OUTCOME_TRANSLATED,
    "expand": prompt_pb2.REWRITE_OUTCOME_EXPANDED,
}


class PromptServicer(prompt_pb2_grpc.PromptServiceServicer):
    """Serves RewritePrompt with the language model inside the engine's adapter.

    max_tokens: per output. max_seconds: per prompt, including its wait for the device.
    """

    def __init__(self, slot: EngineSlot, *, max_pixels: int, max_tokens: int, max_seconds: float) -> None:
        self._slot = slot
        self._max_pixels = max_pixels
        self._max_tokens = max_tokens
        self._max_seconds = max_seconds

    async def RewritePrompt(
        self, request: prompt_pb2.RewritePromptRequest, context: Context
    ) -> prompt_pb2.RewritePromptResponse:
        """Rewrite one prompt between two steps of the running edits."""
        self._slot.get()  # a service that is still loading says so first
        spec = await asyncio.to_thread(read_spec, request, self._max_pixels, self._max_tokens)
        language = languages.language_of(spec.prompt)
        if spec.mode == "translate" and is_readable(spec.prompt):
            return prompt_pb2.RewritePromptResponse(
                prompt=spec.prompt, outcome=prompt_pb2.REWRITE_OUTCOME_UNCHANGED, source_language=language
            )
        return await self._rewritten(spec, language, deadline_of(context))

    async def _rewritten(
        self, spec: RewriteSpec, language: str, deadline: float | None
    ) -> prompt_pb2.RewritePromptResponse:
        engine = self._slot.get()
        adapter = cast("QwenEditAdapter", engine.adapter)
        entered = time.monotonic()
        limit = entered + self._max_seconds
        began: list[float] = []

        def write(should_stop: Callable[[], bool]) -> str:
            began.append(time.monotonic())
            return adapter.rewrite(spec, should_stop)

        try:
            answer = await engine.run_between_steps(write, deadline=limit if deadline is None else min(limit, deadline))
        except DeadlineExceeded:
            if deadline is not None and deadline <= limit:
                raise
            raise failed(f"it was not written within {self._max_seconds:g} s") from None
        prompt = judged(answer, spec.prompt)
        return prompt_pb2.RewritePromptResponse(
            prompt=prompt,
            outcome=prompt_pb2.REWRITE_OUTCOME_UNCHANGED if prompt == spec.prompt else _OUTCOMES[spec.mode],
            source_language=language,
            model=progress_pb2.ModelInfo(model_id=MODEL_ID, revision=adapter.revision),
            timings=[
                progress_pb2.Timing(name="queue", seconds=began[0] - entered),
                progress_pb2.Timing(name="generate", seconds=time.monotonic() - began[0]),
            ],
        )


def is_readable(prompt: str) -> bool:
    """Whether the prompt is in the target language already.

    Quoted text does not count.
    """
    return not languages.foreign_letter(languages.unquoted(prompt), READ)


def read_spec(request: prompt_pb2.RewritePromptRequest, max_pixels: int, max_tokens: int) -> RewriteSpec:
    """Check a request and decode its images.

    Raises `InvalidArgument` that names the field.
    """
    if request.mode not in _MODES:
        raise InvalidArgument.field("mode", f"must be REWRITE_MODE_TRANSLATE or REWRITE_MODE_EXPAND, is {request.mode}")
    mode = _MODES[request.mode]
    if request.target_language not in ("", *READ):
        given = quoted(request.target_language)
        raise InvalidArgument.field("target_language", f"must be 'en', the only one that is offered, is {given}")
    checks.prompt("prompt", request.prompt)
    limits.check_prompt("prompt", request.prompt)
    limit = 0 if mode == "translate" else MAX_IMAGES
    if len(request.images) > limit:
        why = "; a translation looks at none, leave them out" if mode == "translate" else ""
        raise InvalidArgument.field(
            "images", f"must hold at most {limit} pictures in this mode, holds {len(request.images)}{why}"
        )
    images = tuple(
        pixels.read_rgb(image, field=f"images[{index}]", max_pixels=max_pixels)
        for index, image in enumerate(request.images)
    )
    for index, image in enumerate(images):
        limits.check_aspect(f"images[{index}]", image)
    return RewriteSpec(mode, request.prompt, max_tokens, images)
