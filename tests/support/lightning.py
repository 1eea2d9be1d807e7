"""A few-step LoRA for the tiny Qwen-Image-Edit in Lightning's format, and edits."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from services.qwen_edit.model import QwenEditAdapter, load
from tests.support.engine import SMALL, checkpoint, qwen_spec

QWEN = "Qwen-Image-Edit-2509"
RANK = 4


def adapter(**options: Any) -> QwenEditAdapter:
    return load(checkpoint(QWEN), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, **options)


def edited(model: QwenEditAdapter, **changes: Any) -> np.ndarray:
    spec = qwen_spec(**changes)
    state = model.prepare(spec)
    for _ in range(model.plan(spec).steps):
        model.denoise([state])
    return model.decode(state)


@cache
def plainly_edited() -> np.ndarray:
    """The edit by a separate adapter, without LoRA or settings.

    A shared one may have cached a prompt from another thread, which adds in another order.
    """
    return edited(adapter())


def weights() -> dict[str, torch.Tensor]:
    return load_file(checkpoint(QWEN) / "transformer" / "diffusion_pytorch_model.safetensors")


def lightning_file(folder: Path, *, alpha: float = 4.0) -> Path:
    """A LoRA of rank 4 with the keys of Qwen-Image-Lightning's files.

    lora_down, lora_up and alpha per layer.
    """
    noise = torch.Generator().manual_seed(0)
    tensors = {}
    for name, weight in weights().items():
        layer = name.removesuffix(".weight")
        if name.endswith(("to_q.weight", "to_k.weight", "to_v.weight", "img_mlp.net.0.proj.weight")):
            tensors[f"{layer}.lora_down.weight"] = torch.randn(RANK, weight.shape[1], generator=noise)
            tensors[f"{layer}.lora_up.weight"] = torch.randn(weight.shape[0], RANK, generator=noise) / 4
            tensors[f"{layer}.alpha"] = torch.tensor(alpha)
    path = folder / "Qwen-Image-Edit-2509-Lightning.safetensors"
    save_file(tensors, path)
    return path
