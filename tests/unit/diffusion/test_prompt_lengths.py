"""Prompts of different lengths in one batch.

Masked where attention takes a mask, and never together elsewhere.
"""

from typing import Any

import numpy as np
import pytest
import torch

from services.diffusion.networks import runtime_options
from services.diffusion.networks.runtime_options import RuntimeOptions, takes_masks
from services.qwen_edit.model import QwenEditAdapter
from tests.support.engine import qwen_spec
from tests.support.lightning import adapter, edited

pytestmark = pytest.mark.slow

PROMPTS = ("빨간색", "옷을 빨간색으로 바꾸고 배경은 그대로 두세요", "파란색")
"""The first and the third are equally long."""


class Spy:
    """Notes the mask and the batch of each forward."""

    def __init__(self, model: QwenEditAdapter) -> None:
        self.masks: list[Any] = []
        self.sizes: list[int] = []
        run = model._network.run

        def noted(**inputs: Any) -> torch.Tensor:
            self.masks.append(inputs["encoder_hidden_states_mask"])
            self.sizes.append(len(inputs["hidden_states"]))
            return run(**inputs)

        model._network.run = noted  # type: ignore[method-assign]


def together(model: QwenEditAdapter, **changes: Any) -> list[np.ndarray]:
    """The pictures of the jobs of all prompts, in one batch."""
    states = [model.prepare(qwen_spec(prompt=prompt, **changes)) for prompt in PROMPTS]
    lengths = [state.positive.shape[1] for state in states]
    assert lengths[0] == lengths[2] != lengths[1]
    for _ in range(model.plan(qwen_spec(**changes)).steps):
        model.denoise(states)
    return [model.decode(state) for state in states]


def assert_close(found: list[np.ndarray], model: QwenEditAdapter, **changes: Any) -> None:
    for prompt, picture in zip(PROMPTS, found, strict=True):
        alone = edited(model, prompt=prompt, **changes)
        assert abs(picture.astype(int) - alone).max() <= 2


@pytest.mark.parametrize("cfg_batch", ["auto", "on", "off"])
def test_no_other_backend_is_handed_a_mask(cfg_batch: Any) -> None:
    model = adapter(runtime=RuntimeOptions(attention="_native_math", cfg_batch=cfg_batch))
    spy = Spy(model)
    found = together(model, steps=2)
    assert all(mask is None for mask in spy.masks)
    assert max(spy.sizes) >= 2  # equal lengths still share
    assert_close(found, adapter(), steps=2)


def test_without_guidance_equal_lengths_share_a_forward() -> None:
    model = adapter(runtime=RuntimeOptions(attention="_native_math"))
    spy = Spy(model)
    together(model, steps=1, true_cfg_scale=1.0)
    assert sorted(spy.sizes) == [1, 2]


@pytest.mark.parametrize("attention", ["", "native"])
def test_torchs_own_attention_masks_the_padding(attention: str) -> None:
    model = adapter(runtime=RuntimeOptions(attention=attention))
    spy = Spy(model)
    found = together(model, steps=2, true_cfg_scale=1.0)
    assert spy.sizes == [3, 3]
    assert all(mask is not None and mask.dtype == torch.bool for mask in spy.masks)
    assert_close(found, adapter(), steps=2, true_cfg_scale=1.0)


@pytest.mark.parametrize("backend", ["flash", "flash_varlen", "_flash_3", "sage", "xformers", "flex", "_native_cudnn"])
def test_only_torchs_own_backend_is_trusted_with_a_mask(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not takes_masks(backend)
    assert takes_masks("")
    monkeypatch.setattr(runtime_options, "DIFFUSERS_ATTN_BACKEND", backend)  # as the environment may set it
    assert not takes_masks("")
    assert takes_masks("native")
