"""Profiles in a model service: a LoRA, a step cache, or neither, by its settings."""

from pathlib import Path
from typing import Any

import pytest

from imgedit.errors import FailedPrecondition
from imgedit.v1 import profile_pb2
from services.diffusion.streaming import FAST_LORA, Profiles
from services.fill.settings import FillSettings

FAST, BALANCED, HIGH = profile_pb2.PROFILE_FAST, profile_pb2.PROFILE_BALANCED, profile_pb2.PROFILE_HIGH


def profiles(**settings: Any) -> Profiles:
    return Profiles.of(FillSettings(models=Path("/models"), **settings))


def test_fast_takes_the_lora_and_no_other_profile_does() -> None:
    equipped = profiles(lora_fast="turbo.safetensors", step_cache_threshold=0.1)
    assert [equipped.lora(profile) for profile in (FAST, BALANCED, HIGH)] == [FAST_LORA, None, None]


def test_balanced_may_skip_steps_where_the_cache_is_on_and_high_never_does() -> None:
    cached = profiles(lora_fast="turbo.safetensors", step_cache_threshold=0.1)
    assert [cached.step_cache(profile) for profile in (FAST, BALANCED, HIGH)] == [False, True, False]
    assert not profiles().step_cache(BALANCED)


def test_fast_without_a_lora_is_refused_with_what_to_do() -> None:
    with pytest.raises(FailedPrecondition, match="LORA_FAST") as caught:
        profiles().lora(FAST)
    assert "balanced" in caught.value.korean
