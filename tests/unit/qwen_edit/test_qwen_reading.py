"""Prompts beyond Qwen-Image-Edit's positions are rejected; others are counted."""

from __future__ import annotations

import pytest
import torch

from imgedit.errors import PromptRejected
from tests.support.engine import finish, photo, qwen, qwen_spec, with_engine

LONG = "\U0001f9ff" * 2000
"""Several tokens a character."""


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("prompt", ["make it red", "옷을 빨간색으로 바꿔줘", "뷁쉛" * 50])
def test_positions_are_counted_as_the_text_encoder_fills_them(prompt: str, count: int) -> None:
    adapter, images = qwen(), [photo(), photo(96, 64), photo(64, 64)][:count]
    length = adapter._conditioner.prompt(prompt, images).shape[1]
    reading = adapter._tokens
    assert reading._text_tokens(prompt, images) + reading._seen(images) == length


def test_the_limit_is_the_transformers_own() -> None:
    adapter, images = qwen(), [photo()]
    shapes = adapter._conditioner.shapes(images)
    transformer = adapter._pipeline.transformer
    limit = transformer.pos_embed.pos_freqs.shape[0] - max(max(shape[1:]) // 2 for shape in shapes)
    for length, fits in ((limit, True), (limit + 1, False)):
        _, text = transformer.pos_embed([shapes], max_txt_seq_len=length, device=torch.device("cpu"))
        assert (text.shape[0] == length) == fits


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_a_prompt_that_is_too_long_is_refused_with_its_length_and_the_limit(field: str) -> None:
    with pytest.raises(PromptRejected, match=rf"{field}: has \d+ tokens, .* at most \d+ beside") as caught:
        qwen().plan(qwen_spec(**{field: LONG}))
    assert caught.value.violations[0].field == field
    assert "토큰까지" in caught.value.korean


def test_a_prompt_that_is_too_long_never_reaches_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qwen()._conditioner, "prompt", lambda *_: pytest.fail("encoded"))
    with pytest.raises(PromptRejected):
        with_engine(qwen(), lambda engine: finish(engine, qwen_spec(prompt=LONG)))


def test_a_negative_prompt_that_is_not_looked_at_may_be_of_any_length() -> None:
    assert qwen().plan(qwen_spec(negative_prompt=LONG, true_cfg_scale=1.0)).passes == 1


def test_a_prompt_at_the_limit_fits() -> None:
    adapter, spec = qwen(), qwen_spec()
    reading, shapes = adapter._tokens, adapter._conditioner.shapes(spec.images)
    first = max(max(shape[1:]) // 2 for shape in shapes)
    length = reading._text_tokens(spec.prompt, spec.images) + reading._seen(spec.images)
    before = reading._positions
    try:
        reading._positions = first + length
        reading.check("prompt", spec.prompt, spec.images, shapes)
        reading._positions -= 1
        with pytest.raises(PromptRejected):
            reading.check("prompt", spec.prompt, spec.images, shapes)
    finally:
        reading._positions = before


def test_the_estimate_of_a_jobs_work_knows_how_long_its_prompt_is() -> None:
    short, other, long = (qwen().plan(qwen_spec(prompt=text)) for text in ("red", "blue", "red " * 400))
    assert short.batch_key == other.batch_key
    assert long.tokens - short.tokens >= 300
    assert long.batch_key != short.batch_key
