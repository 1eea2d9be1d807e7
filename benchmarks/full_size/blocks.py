"""One block of each kind: the service's against the library's.

The service's transformer is loaded from the GGUF file, its weights stored, and begins one forward, which yields the
inputs of the first block. The library's block is built from the configuration; the gguf package reads and dequantises
its weights. The comparison runs in a subprocess, so its memory is free before the service starts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from accelerate import init_empty_weights

from benchmarks.full_size.checkpoints import MODELS, Model
from services.diffusion.networks.device import DTYPES
from services.diffusion.weights import gguf_weights
from services.diffusion.weights.checkpoint import read_json
from services.diffusion.weights.original_names import shapes_of

TOKENS = (256, 64)
"""Of the picture and of the text."""


class _Reached(Exception):
    """The first block has been given its inputs."""


def differences_apart(model: str, folder: Path, dtype: str) -> dict[str, float]:
    """Run `differences` in a subprocess."""
    command = [sys.executable, "-m", "benchmarks.full_size.blocks", model, str(folder), dtype]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@torch.inference_mode()
def differences(model: Model, folder: Path, dtype: torch.dtype) -> dict[str, float]:
    """The largest difference by kind of block, relative to the largest output."""
    path = next((folder / "transformer").glob("*.gguf"))
    transformer = gguf_weights.load_transformer(
        model.layout, path, folder / "transformer", device=torch.device("cpu"), dtype=dtype, weights="stored"
    )
    kinds = {kind: kind.removesuffix(".0") for kind in _firsts(transformer)}
    inputs = _inputs_of_first_block(transformer, dtype)
    library = _library(model, path, folder, [*kinds], dtype)
    found = {}
    for kind in kinds:
        own = _flat(transformer.get_submodule(kind)(**inputs))
        theirs = _flat(library[kind](**inputs))
        found[kinds[kind]] = float((own - theirs).abs().max() / theirs.abs().max())
    return found


def _firsts(transformer: Any) -> list[str]:
    return [f"{name}.0" for name in ("transformer_blocks", "single_transformer_blocks") if hasattr(transformer, name)]


def _inputs_of_first_block(transformer: Any, dtype: torch.dtype) -> dict[str, Any]:
    kept: dict[str, Any] = {}

    def keep(_module: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
        kept.update(keywords)
        raise _Reached

    hook = transformer.transformer_blocks[0].register_forward_pre_hook(keep, with_kwargs=True)
    with hook, suppress(_Reached):
        transformer(**_forward_inputs(transformer.config, dtype))
    return kept


def _forward_inputs(config: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    random = torch.Generator().manual_seed(0)
    pictures, text = TOKENS
    side = round(pictures**0.5)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=random).to(dtype)

    inputs = {
        "hidden_states": noise(1, pictures, config["in_channels"]),
        "encoder_hidden_states": noise(1, text, config["joint_attention_dim"]),
        "timestep": torch.tensor([0.5], dtype=dtype),
        "return_dict": False,
    }
    if "pooled_projection_dim" not in config:
        return inputs | {"img_shapes": [[(1, side, side)]]}
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    places = torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()
    return inputs | {
        "pooled_projections": noise(1, config["pooled_projection_dim"]),
        "guidance": torch.tensor([3.5]),
        "img_ids": places,
        "txt_ids": torch.zeros(text, 3),
    }


def _library(model: Model, path: Path, folder: Path, kinds: list[str], dtype: torch.dtype) -> dict[str, Any]:
    """The library's blocks by name, with the numbers of the file."""
    with init_empty_weights():
        network = model.layout.network.from_config(read_json(folder / "transformer" / "config.json"))
    shapes = shapes_of(network)
    names = model.layout.names(network.config, shapes)
    stored = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    blocks = {}
    for kind in kinds:
        weights: dict[str, torch.Tensor] = {}
        for name, parts in names.items():
            if not parts[0].startswith(f"{kind}."):
                continue
            dense = gguf.dequantize(stored[name].data, stored[name].tensor_type)
            if len(dense.shape) == 2:
                dense = dense.astype(np.float16).astype(np.float32)  # diffusers has scale x number in float16
            for part, rows in zip(
                parts, np.split(dense, np.cumsum([shapes[part][0] for part in parts])[:-1]), strict=True
            ):
                weights[part.removeprefix(f"{kind}.")] = torch.from_numpy(rows.copy()).reshape(shapes[part]).to(dtype)
        blocks[kind] = network.get_submodule(kind)
        blocks[kind].load_state_dict(weights, strict=True, assign=True)
        blocks[kind].eval()
    return blocks


def _flat(output: Any) -> torch.Tensor:
    """The output of a block as one row in float32."""
    tensors = output if isinstance(output, tuple) else (output,)
    return torch.cat([tensor.float().flatten() for tensor in tensors if tensor is not None])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("model", choices=[*MODELS])
    parser.add_argument("folder", type=Path)
    parser.add_argument("dtype", choices=[*DTYPES])
    options = parser.parse_args()
    print(json.dumps(differences(MODELS[options.model], options.folder, DTYPES[options.dtype])))
