"""Profile fast of Qwen-Image-Edit.

The files of Lightning, its schedule, its passes, and base weights left alone.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as published
from PIL import Image
from safetensors.torch import load_file

from services.diffusion.networks.lora import LoraFile
from services.qwen_edit.__main__ import LIGHTNING_SCHEDULE
from tests.support.engine import SMALL, checkpoint, finish, photo, placed, qwen_spec, with_engine
from tests.support.lightning import QWEN, RANK, adapter, edited, lightning_file, plainly_edited, weights


@pytest.mark.parametrize("steps", [4, 8])
def test_so_many_steps_are_so_many_passes_on_lightnings_schedule(tmp_path: Path, steps: int) -> None:
    model = adapter(loras={"fast": LoraFile(lightning_file(tmp_path), schedule=LIGHTNING_SCHEDULE)})
    passes = []
    model._pipeline.transformer.register_forward_hook(lambda *_: passes.append(1))
    spec = qwen_spec(lora="fast", steps=steps, true_cfg_scale=1.0, negative_prompt="blurry")
    levels = [1 - number / steps for number in range(steps)]
    expected = [3 * level / (1 + 2 * level) for level in levels]
    assert torch.allclose(model.prepare(spec).sigmas, torch.tensor([*expected, 0.0]), atol=1e-6)
    with_engine(model, lambda engine: finish(engine, spec))
    assert len(passes) == steps


def test_a_fast_edit_equals_the_pipeline_with_the_same_file_and_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "VAE_IMAGE_SIZE", SMALL)
    monkeypatch.setattr(published, "CONDITION_IMAGE_SIZE", SMALL)
    path = lightning_file(tmp_path)
    ours = edited(adapter(loras={"fast": LoraFile(path, schedule=LIGHTNING_SCHEDULE)}), lora="fast", true_cfg_scale=1.0)
    parts = dict(adapter()._pipeline.components)
    config = FlowMatchEulerDiscreteScheduler.load_config(checkpoint(QWEN) / "scheduler")
    parts["scheduler"] = FlowMatchEulerDiscreteScheduler.from_config({**config, **LIGHTNING_SCHEDULE})
    parts["vae"] = AutoencoderKLQwenImage.from_pretrained(checkpoint(QWEN) / "vae")
    pipeline = published.QwenImageEditPlusPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(path.parent), weight_name=path.name)
    spec = qwen_spec()
    with placed(pipeline.text_encoder):
        image = pipeline(
            image=[Image.fromarray(photo())],
            prompt=spec.prompt,
            true_cfg_scale=1.0,
            height=64,
            width=96,
            num_inference_steps=4,
            generator=torch.Generator().manual_seed(spec.seed),
            output_type="np",
        ).images[0]
    assert np.abs(ours - image * 255).max() <= 1


def delta(folder: Path, *, alpha: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The LoRA's change of one layer's output equals alpha / rank × up × down."""
    path = lightning_file(folder, alpha=alpha)
    model = adapter(loras={"fast": LoraFile(path)})
    layer = model._pipeline.transformer.transformer_blocks[0].attn.to_q
    inputs = torch.eye(layer.in_features)
    model._network.loras.use("fast")
    with torch.inference_mode():
        added: torch.Tensor = (layer(inputs) - layer.base_layer(inputs)).T
    tensors = load_file(path)
    prefix = "transformer_blocks.0.attn.to_q"
    return added, alpha / RANK * tensors[f"{prefix}.lora_up.weight"] @ tensors[f"{prefix}.lora_down.weight"]


@pytest.mark.parametrize("alpha", [4.0, 2.0])
def test_a_file_with_lightnings_keys_adds_what_it_says(tmp_path: Path, alpha: float) -> None:
    found, expected = delta(tmp_path, alpha=alpha)
    assert torch.allclose(found, expected, atol=1e-4)


def test_loading_using_and_unloading_lightning_leaves_the_base_weights_bit_equal(tmp_path: Path) -> None:
    before = plainly_edited()
    model = adapter(loras={"fast": LoraFile(lightning_file(tmp_path))})
    base = {name: tensor.clone() for name, tensor in weights().items()}
    fast = edited(model, lora="fast")
    assert not np.array_equal(fast, before)
    for name, tensor in model._pipeline.transformer.state_dict().items():
        plain = name.replace(".base_layer", "")
        if plain in base:
            assert torch.equal(tensor, base[plain]), name
    assert np.array_equal(edited(model, lora="fast"), fast)
    assert np.array_equal(edited(model), before)
    model._pipeline.unload_lora_weights()
    state = model._pipeline.transformer.state_dict()
    assert state.keys() == base.keys()
    for name, tensor in state.items():
        assert torch.equal(tensor, base[name]), name
    assert np.array_equal(edited(model), before)
