"""FLUX's transformer from a GGUF file: tensor by tensor, dequantised once or kept as it is stored.

GGUF files carry the original FLUX tensor names, where query, key and value are one matrix; diffusers' modules have
their own names and keep them apart. The table below is that difference. Blocks are dequantised by diffusers' functions,
so the dense weights are those that diffusers would compute at every step. The width is the configuration's, any width.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers import FluxTransformer2DModel
from diffusers.quantizers.gguf.utils import GGUFParameter, _replace_with_gguf_linear, dequantize_gguf_tensor

from imgedit.errors import ModelLoadError
from services.diffusion.checkpoint import read_json
from services.fill.gguf_header import TYPES, TensorEntry, check_tensors, read_header

Weights = Literal["auto", "dense", "gguf"]

HEADROOM = 2 * 1024**3
"""Bytes of device memory that `auto` leaves for activations when it decides for dense weights."""

CHUNK = 16 * 1024 * 1024
"""Elements dequantised at once, a bound on the scratch memory."""

DOUBLE: dict[str, tuple[str, ...]] = {
    "img_mod.lin": ("norm1.linear",),
    "txt_mod.lin": ("norm1_context.linear",),
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "img_attn.proj": ("attn.to_out.0",),
    "txt_attn.proj": ("attn.to_add_out",),
    "img_mlp.0": ("ff.net.0.proj",),
    "img_mlp.2": ("ff.net.2",),
    "txt_mlp.0": ("ff_context.net.0.proj",),
    "txt_mlp.2": ("ff_context.net.2",),
}
SINGLE: dict[str, tuple[str, ...]] = {
    "modulation.lin": ("norm.linear",),
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
}
OUTER: dict[str, tuple[str, ...]] = {
    "img_in": ("x_embedder",),
    "txt_in": ("context_embedder",),
    "time_in.in_layer": ("time_text_embed.timestep_embedder.linear_1",),
    "time_in.out_layer": ("time_text_embed.timestep_embedder.linear_2",),
    "vector_in.in_layer": ("time_text_embed.text_embedder.linear_1",),
    "vector_in.out_layer": ("time_text_embed.text_embedder.linear_2",),
    "guidance_in.in_layer": ("time_text_embed.guidance_embedder.linear_1",),
    "guidance_in.out_layer": ("time_text_embed.guidance_embedder.linear_2",),
    "final_layer.linear": ("proj_out",),
    "final_layer.adaLN_modulation.1": ("norm_out.linear",),
}
DOUBLE_SCALES = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
}
SINGLE_SCALES = {"norm.query_norm.scale": "attn.norm_q.weight", "norm.key_norm.scale": "attn.norm_k.weight"}

HALVES_SWAPPED = "final_layer.adaLN_modulation.1."
"""The original layer gives shift then scale, diffusers' norm_out wants scale then shift."""

log = logging.getLogger(__name__)


def load_transformer(
    path: Path,
    config: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    weights: Weights = "auto",
    free: int = 0,
    sha256: str | None = None,
) -> FluxTransformer2DModel:
    """The transformer of a GGUF file on the device, ready for inference.

    config: the folder with `config.json` (its sizes). weights: dense = dequantised now; gguf = kept quantised and
    dequantised by every layer at every step, slower and smaller; auto = dense if it fits into `free` bytes with room to
    spare. sha256: hex digest that the file must have. Raises `ModelLoadError` for a file that is not in order.
    """
    entries = read_header(path)
    if sha256 is not None:
        check_digest(path, sha256)
    with init_empty_weights():
        transformer = FluxTransformer2DModel.from_config(read_json(config / "config.json"))
    shapes = {name: tuple(tensor.shape) for name, tensor in transformer.state_dict().items()}
    names = name_table(transformer.config.num_layers, transformer.config.num_single_layers, shapes)
    check_tensors(path, entries, {name: joined_shape(parts, shapes) for name, parts in names.items()})
    if choose_weights(weights, shapes, dtype, free) == "dense":
        for name, tensor in dense_tensors(path, entries, names, shapes, dtype, device):
            place(transformer, name, tensor)
    else:
        stored = dict(stored_tensors(path, entries, names, shapes, dtype, device))
        _replace_with_gguf_linear(transformer, dtype, stored)
        for name, tensor in stored.items():
            place(transformer, name, tensor)
    return transformer.eval().requires_grad_(False)


def name_table(doubles: int, singles: int, shapes: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """GGUF tensor name → the diffusers parameters that its rows make up, in order; only what the model has."""
    table: dict[str, tuple[str, ...]] = {}
    groups: list[tuple[str, str, dict[str, tuple[str, ...]], dict[str, str]]] = [("", "", OUTER, {})]
    groups += [(f"double_blocks.{i}.", f"transformer_blocks.{i}.", DOUBLE, DOUBLE_SCALES) for i in range(doubles)]
    groups += [
        (f"single_blocks.{i}.", f"single_transformer_blocks.{i}.", SINGLE, SINGLE_SCALES) for i in range(singles)
    ]
    for prefix, target, layers, scales in groups:
        for source, parts in layers.items():
            for kind in ("weight", "bias"):
                table[f"{prefix}{source}.{kind}"] = tuple(f"{target}{part}.{kind}" for part in parts)
        table |= {f"{prefix}{source}": (f"{target}{part}",) for source, part in scales.items()}
    return {source: parts for source, parts in table.items() if parts[0] in shapes}


def joined_shape(parts: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of the matrix that holds these parameters one below the other."""
    return (sum(shapes[part][0] for part in parts), *shapes[parts[0]][1:])


def choose_weights(
    weights: Weights, shapes: Mapping[str, tuple[int, ...]], dtype: torch.dtype, free: int
) -> Literal["dense", "gguf"]:
    """What `auto` means here and now: dense when it fits into `free` bytes with `HEADROOM` to spare."""
    if weights != "auto":
        return weights
    need = sum(int(np.prod(shape)) for shape in shapes.values()) * dtype.itemsize + HEADROOM
    choice: Literal["dense", "gguf"] = "dense" if need <= free else "gguf"
    log.info("weights=auto: %s (dense needs %.1f GB with headroom, %.1f GB are free)", choice, need / 1e9, free / 1e9)
    return choice


def stored_rows(
    path: Path, entries: Mapping[str, TensorEntry], names: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[TensorEntry, torch.Tensor]]:
    """Each tensor of the table as stored: (rows, bytes per row) uint8, one at a time, in file order."""
    with path.open("rb") as file:
        for entry in sorted((entries[name] for name in names), key=lambda entry: entry.offset):
            file.seek(entry.offset)
            raw = np.fromfile(file, np.uint8, entry.nbytes).reshape(entry.shape[0], -1)
            if entry.name.startswith(HALVES_SWAPPED):
                raw = np.roll(raw, entry.shape[0] // 2, axis=0)
            yield entry, torch.from_numpy(raw)


def dense_tensors(
    path: Path,
    entries: Mapping[str, TensorEntry],
    names: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every diffusers parameter, dequantised on the device; no more than one GGUF tensor is held besides."""
    for entry, raw in stored_rows(path, entries, names):
        for name, rows in split_rows(names[entry.name], shapes, raw):
            yield name, dequantised(rows.to(device), entry.type, shapes[name], dtype)


def stored_tensors(
    path: Path,
    entries: Mapping[str, TensorEntry],
    names: Mapping[str, tuple[str, ...]],
    shapes: Mapping[str, tuple[int, ...]],
    dtype: torch.dtype,
    device: torch.device,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every diffusers parameter: quantised matrices as they are stored, the rest as plain tensors."""
    for entry, raw in stored_rows(path, entries, names):
        for name, rows in split_rows(names[entry.name], shapes, raw):
            if TYPES[entry.type][1] == 1:
                yield name, dequantised(rows.to(device), entry.type, shapes[name], dtype)
            else:
                yield name, GGUFParameter(rows.clone().to(device), quant_type=entry.type)


def split_rows(
    parts: tuple[str, ...], shapes: Mapping[str, tuple[int, ...]], raw: torch.Tensor
) -> Iterator[tuple[str, torch.Tensor]]:
    """The rows of one stored matrix that belong to each parameter."""
    start = 0
    for part in parts:
        stop = start + shapes[part][0]
        yield part, raw[start:stop]
        start = stop


def dequantised(rows: torch.Tensor, kind: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Stored rows (n, bytes) of GGUF type `kind` as a dense tensor of this shape and dtype, a few rows at a time."""
    plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}.get(TYPES[kind][0])
    if plain is not None:
        return rows.contiguous().view(plain).reshape(shape).to(dtype, copy=True)
    dense = torch.empty(shape, dtype=dtype, device=rows.device)
    step = max(1, CHUNK // shape[-1])
    for start in range(0, shape[0], step):
        chunk = GGUFParameter(rows[start : start + step].contiguous(), quant_type=kind)
        dense[start : start + step] = dequantize_gguf_tensor(chunk)
    return dense


def place(transformer: FluxTransformer2DModel, name: str, tensor: torch.Tensor) -> None:
    """Make `tensor` the parameter of this name."""
    module, _, parameter = name.rpartition(".")
    if not isinstance(tensor, torch.nn.Parameter):
        tensor = torch.nn.Parameter(tensor, requires_grad=False)
    setattr(transformer.get_submodule(module), parameter, tensor)


def check_digest(path: Path, sha256: str) -> None:
    """`ModelLoadError` unless the file has this SHA-256; reads the whole file."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ModelLoadError(f"{path}: SHA-256 is {found}, {sha256} is expected")
