"""Warnings about unread parts of FLUX.1-Fill prompts, with real tokenizer classes."""

from __future__ import annotations

import numpy as np
import pytest

from demo.tiny import tokenizers
from imgedit.remarks import english
from services.fill.prompt_length import TokenCounter
from services.fill.spec import FillSpec

READING = TokenCounter(tokenizers.clip(), tokenizers.t5(), 512)


def spec(prompt: str, negative_prompt: str | None = None) -> FillSpec:
    return FillSpec(
        image=np.zeros((16, 16, 3), np.uint8),
        mask=np.zeros((16, 16), np.uint8),
        prompt=prompt,
        negative_prompt=negative_prompt,
        negative_scale=3.0,
        steps=1,
        guidance_scale=3.5,
        strength=1.0,
        seed=0,
    )


def warnings(prompt: str, negative_prompt: str | None = None) -> list[str]:
    return english(READING.warnings(spec(prompt, negative_prompt)))


@pytest.mark.parametrize("prompt", ["a gym", "a" * 75])
def test_a_prompt_that_is_read_to_its_end_is_no_matter(prompt: str) -> None:
    assert warnings(prompt, negative_prompt="blurry") == []


def test_what_clip_cuts_off_is_counted() -> None:
    (warning,) = warnings("a" * 91)
    assert "prompt: it has 93 CLIP tokens" in warning
    assert "first 77" in warning


def test_what_t5_cuts_off_is_counted_for_the_negative_prompt_too() -> None:
    clip, t5 = warnings("a gym", negative_prompt="b" * 600)
    assert clip.startswith("negative_prompt: ")
    assert t5.startswith("negative_prompt: ")
    assert "first 512" in t5


def test_signs_that_t5_does_not_know_are_counted() -> None:
    (warning,) = warnings("a gym 😀 and ☂")
    assert "2 of its" in warning


def test_counting_does_not_disturb_the_tokenizers_in_use() -> None:
    clip = tokenizers.clip()
    reading = TokenCounter(clip, tokenizers.t5(), 512)
    clip("a" * 200, truncation=True, max_length=77)
    assert reading.warnings(spec("a" * 91))
    assert len(clip("a" * 200, truncation=True, max_length=77).input_ids) == 77
