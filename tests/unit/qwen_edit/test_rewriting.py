"""Generation with the pipeline's own text encoder.

Greedy whatever the checkpoint says, under every offload setting.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from demo.world.guide import TRANSLATIONS
from imgedit.errors import RewriteFailed
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.qwen_edit.instructions import RewriteSpec
from services.qwen_edit.model import QwenEditAdapter, load

KOREAN = "배경을 현대적인 체육관으로 변경"
SPEC = RewriteSpec("translate", KOREAN, max_tokens=100)


@pytest.fixture(scope="module")
def adapter(models: Path) -> QwenEditAdapter:
    return load(models / "Qwen-Image-Edit-2509", device="cpu")


def never() -> bool:
    return False


@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_a_prompt_is_rewritten_wherever_the_weights_rest(models: Path, offload: Any) -> None:
    moved = load(models / "Qwen-Image-Edit-2509", device="cpu", runtime=RuntimeOptions(offload=offload))
    assert moved.rewrite(SPEC, never) == TRANSLATIONS[KOREAN]


def test_a_text_encoder_of_8_bits_rewrites(models: Path) -> None:
    small = load(models / "Qwen-Image-Edit-2509", device="cpu", text_encoder_weights="int8")
    assert small.rewrite(SPEC, never) == TRANSLATIONS[KOREAN]


def test_generation_settings_of_the_checkpoint_have_no_say(adapter: QwenEditAdapter) -> None:
    settings = adapter._pipeline.text_encoder.generation_config
    before = settings.to_dict()
    settings.update(do_sample=True, temperature=5.0, top_k=1, top_p=0.1, repetition_penalty=9.0)
    try:
        assert adapter.rewrite(SPEC, never) == TRANSLATIONS[KOREAN]
    finally:
        settings.update(**before)


def test_nothing_more_is_written_when_nobody_waits(adapter: QwenEditAdapter) -> None:
    tokens = 0

    def after_five() -> bool:
        nonlocal tokens
        tokens += 1
        return tokens > 5

    answer = adapter.rewrite(SPEC, after_five)
    assert TRANSLATIONS[KOREAN].startswith(answer)
    assert answer != TRANSLATIONS[KOREAN]
    assert tokens <= 8


def test_an_answer_without_an_end_fails(adapter: QwenEditAdapter) -> None:
    with pytest.raises(RewriteFailed, match="4 tokens"):
        adapter.rewrite(RewriteSpec("translate", KOREAN, max_tokens=4), never)
