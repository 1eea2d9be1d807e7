"""A transformer from a GGUF file, dequantised once or kept quantised.

Blocks are dequantised by diffusers' functions, so dense weights equal those that diffusers would compute at every step.
The configuration gives the width; a `Layout` names the tensors.
"""

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import init_empty_weights
from diffusers.quantizers.gguf.utils import GGUFParameter, _replace_with_gguf_linear, dequantize_gguf_tensor
from torch import nn

from imgedit.errors import ModelLoadError
from imgedit.weights.gguf_header import TYPES, TensorEntry, read_header
from services.common.weights_faults import refuse_unfit
from services.diffusion.weights.checkpoint import read_json
from services.diffusion.weights.gguf_linear import use_stored_linear
from services.diffusion.weights.original_names import Layout, Shapes, joined_shape, prefix_of, shapes_of
from services.diffusion.weights.reading import Meter, place

Weights = Literal["auto", "dense", "stored", "gguf"]
"""How a transformer is held, see `choose_weights`; gguf is another name of stored."""

CHUNK = 16 * 1024 * 1024
"""Elements dequantised at once, a bound on the scratch memory."""

log = logging.getLogger(__name__)


def load_transformer(
    layout: Layout,
    path: Path,
    config: Path,
    *,
    device: torch.device,
    dtype: torch.dtype,
    weights: Weights = "auto",
    room: int = 0,
    sha256: str | None = None,
) -> Any:
    """The transformer of a GGUF file on the device, ready for inference.

    config: the folder with `config.json` (its sizes). weights: dense = dequantised now; stored = kept quantised and
    dequantised by every layer at every step, slower and smaller; auto = dense if that takes at most `room` bytes.
    sha256: required hex digest of the file. Raises `ModelLoadError` for an invalid file.
    """
    entries, transformer = open_file(layout, path, config)
    if sha256 is not None:
        check_digest(path, sha256)
    shapes = shapes_of(transformer)
    names = layout.names(transformer.config, shapes)
    rows = parameter_rows(path, entries, names, shapes, layout.halves_swapped)
    if choose_weights(weights, shapes, dtype, room) == "dense":
        for name, kind, raw in rows:
            place(transformer, name, dequantised(raw.to(device), kind, shapes[name], dtype))
    else:
        linear = {f"{name}.weight" for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
        stored = {
            name: (as_stored if name in linear else dequantised)(raw.to(device), kind, shapes[name], dtype)
            for name, kind, raw in rows
        }
        _replace_with_gguf_linear(transformer, dtype, stored)
        use_stored_linear(transformer)
        for name, tensor in stored.items():
            place(transformer, name, tensor)
    return transformer.eval().requires_grad_(False)


def open_file(layout: Layout, path: Path, config: Path) -> tuple[dict[str, TensorEntry], Any]:
    """The file's tensors by the model's names, and the network without weights.

    Raises `ModelLoadError` unless the header is valid and lists exactly this network's tensors; reads no weights.
    """
    entries = without_prefix(read_header(path))
    with init_empty_weights():
        transformer = layout.network.from_config(read_json(config / "config.json"))
    for marker, key in layout.markers.items():
        is_marked, is_expected = entries.pop(marker, None) is not None, bool(transformer.config.get(key))
        if is_marked != is_expected:
            where = f"the file lacks the tensor {marker!r}" if is_expected else f"the configuration lacks {key!r}"
            raise ModelLoadError(f"{path}: of another version than {config / 'config.json'}: {where}")
    shapes = shapes_of(transformer)
    names = layout.names(transformer.config, shapes)
    check_tensors(path, entries, {name: joined_shape(parts, shapes) for name, parts in names.items()}, layout.model)
    return entries, transformer


def check_tensors(
    path: Path, found: Mapping[str, TensorEntry], expected: Mapping[str, tuple[int, ...]], model: str
) -> None:
    """Raise `ModelLoadError` unless the file's tensors are exactly this model's.

    The message lists each kind of difference.

    Matrices may be stored in blocks. Biases, scales and tables may not: nothing would take the blocks apart.
    """
    both = [name for name in expected if name in found]
    faults = {
        "missing": [repr(name) for name in expected if name not in found],
        "surplus": [repr(name) for name in found if name not in expected],
        "misshapen": [
            f"{name!r} is {list(found[name].shape)} instead of {list(expected[name])}"
            for name in both
            if found[name].shape != expected[name]
        ],
        "in blocks and no matrix": [
            f"{name!r} is {TYPES[found[name].type][0]}"
            for name in both
            if len(expected[name]) != 2 and TYPES[found[name].type][1] > 1
        ],
    }
    refuse_unfit(path, f"the {model} transformer", faults)


def without_prefix(entries: dict[str, TensorEntry]) -> dict[str, TensorEntry]:
    """The entries without the prefix that all their names have, if any."""
    prefix = prefix_of(entries)
    short = [replace(entry, name=name.removeprefix(prefix)) for name, entry in entries.items()]
    return {entry.name: entry for entry in short}


def choose_weights(weights: Weights, shapes: Shapes, dtype: torch.dtype, room: int) -> Literal["dense", "stored"]:
    """Resolve `auto`: dense if that takes at most `room` bytes."""
    if weights != "auto":
        return "dense" if weights == "dense" else "stored"
    need = sum(int(np.prod(shape)) for shape in shapes.values()) * dtype.itemsize
    choice: Literal["dense", "stored"] = "dense" if need <= room else "stored"
    log.info("weights=auto: %s (dense takes %.1f GB, there is room for %.1f GB)", choice, need / 1e9, room / 1e9)
    return choice


def parameter_rows(
    path: Path,
    entries: Mapping[str, TensorEntry],
    names: Mapping[str, tuple[str, ...]],
    shapes: Shapes,
    halves_swapped: tuple[str, ...],
) -> Iterator[tuple[str, int, torch.Tensor]]:
    """Yield each parameter's name, GGUF type and stored rows (n, bytes) uint8.

    They come in file order, and one tensor is in memory at a time.
    """
    meter = Meter(path, sum(entries[name].nbytes for name in names))
    with path.open("rb") as file:
        for entry in sorted((entries[name] for name in names), key=lambda entry: entry.offset):
            file.seek(entry.offset)
            raw = np.fromfile(file, np.uint8, entry.nbytes).reshape(entry.shape[0], -1)
            if entry.name.startswith(halves_swapped):
                raw = np.roll(raw, entry.shape[0] // 2, axis=0)
            start = 0
            for part in names[entry.name]:
                stop = start + shapes[part][0]
                yield part, entry.type, torch.from_numpy(raw[start:stop])
                start = stop
            meter.advance(entry.nbytes)


def as_stored(rows: torch.Tensor, kind: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Stored rows as a quantised parameter, or as a plain tensor if unquantised."""
    if TYPES[kind][1] == 1:
        return dequantised(rows, kind, shape, dtype)
    quantised: torch.Tensor = GGUFParameter(rows.clone(), quant_type=kind)
    return quantised


def dequantised(rows: torch.Tensor, kind: int, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Dequantise stored rows (n, bytes) of GGUF type `kind` into a dense tensor.

    A few rows at a time, into this shape and dtype.
    """
    plain = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}.get(TYPES[kind][0])
    if plain is not None:
        return rows.contiguous().view(plain).reshape(shape).to(dtype, copy=True)
    dense = torch.empty(shape, dtype=dtype, device=rows.device)
    step = max(1, CHUNK // shape[-1])
    for start in range(0, shape[0], step):
        chunk = GGUFParameter(rows[start : start + step].contiguous(), quant_type=kind)
        dense[start : start + step] = dequantize_gguf_tensor(chunk)
    return dense


def check_digest(path: Path, sha256: str) -> None:
    """Raise `ModelLoadError` unless the file has this SHA-256; reads the whole file."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256.lower():
        raise ModelLoadError(f"{path}: SHA-256 is {found}, {sha256} is expected")
