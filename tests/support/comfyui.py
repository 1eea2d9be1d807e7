"""Checkpoints in ComfyUI's format.

Single files with original names, in half precision or in 8-bit floats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from services.diffusion.weights.original_names import Layout

Tensors = dict[str, torch.Tensor]
LARGEST = 448.0
"""Of float8_e4m3fn."""


def stored(folder: Path) -> Tensors:
    """All tensors of a component's safetensors files."""
    return {name: tensor for path in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(path).items()}


def original(layout: Layout, folder: Path, prefix: str = "") -> Tensors:
    """A component's weights under the names of the original layout."""
    tensors, config = stored(folder), json.loads((folder / "config.json").read_text())
    names = layout.names(config, {name: tuple(tensor.shape) for name, tensor in tensors.items()})
    joined = {}
    for name, parts in names.items():
        tensor = torch.cat([tensors[part] for part in parts])
        if layout.halves_swapped and name.startswith(layout.halves_swapped):
            tensor = tensor.roll(len(tensor) // 2, dims=0)
        if "attn_1." in name and tensor.ndim == 2:
            tensor = tensor[:, :, None, None]  # latent diffusion has 1x1 convolutions there
        joined[prefix + name] = tensor.contiguous()
    return joined


def in_fp8(tensors: Tensors) -> Tensors:
    """As a plain cast of all tensors gives them."""
    return {name: tensor.to(torch.float8_e4m3fn) for name, tensor in tensors.items()}


def in_scaled_fp8(
    tensors: Tensors, *, newer: bool = False, by_row: bool = False, keep: tuple[str, ...] = ()
) -> Tensors:
    """Matrices in 8-bit floats with scales, other tensors in bfloat16.

    newer: use the newer names of scales.
    """
    result: Tensors = {} if newer else {"scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn)}
    for name, tensor in tensors.items():
        if tensor.ndim != 2 or not name.endswith(".weight") or any(part in name for part in keep):
            result[name] = tensor.to(torch.bfloat16)
            continue
        largest = tensor.float().abs().amax(dim=1, keepdim=True) if by_row else tensor.float().abs().max()
        scale = (largest / LARGEST).clamp_min(1e-12)
        layer = name.removesuffix(".weight")
        result[name] = (tensor.float() / scale).to(torch.float8_e4m3fn)
        result[f"{layer}.{'weight_scale' if newer else 'scale_weight'}"] = scale
        result[f"{layer}.{'input_scale' if newer else 'scale_input'}"] = torch.ones(())
        if newer:
            described = json.dumps({"format": "float8_e4m3fn"}).encode()
            result[f"{layer}.comfy_quant"] = torch.tensor(list(described), dtype=torch.uint8)
    return result


def dense(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The numbers of files in 8-bit floats, in float32."""
    plain = {}
    for name, tensor in tensors.items():
        layer, _, own = name.rpartition(".")
        if own not in SIDE_NAMES:
            scales = [tensors[f"{layer}.{end}"] for end in SCALES if own == "weight" and f"{layer}.{end}" in tensors]
            plain[name] = tensor.float() * scales[0] if scales else tensor.float()
    return plain


SCALES = ("scale_weight", "weight_scale")
SIDE_NAMES = (*SCALES, "scale_input", "input_scale", "comfy_quant", "scaled_fp8")
