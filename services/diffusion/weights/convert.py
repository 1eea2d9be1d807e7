"""Convert a transformer between GGUF and safetensors, tensor by tensor.

The source's header is checked against the network of `config.json` first: any other file is rejected. A `Layout` names
the tensors.
"""

from __future__ import annotations

import json
import logging
import math
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from accelerate import init_empty_weights
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from imgedit.errors import ModelLoadError
from imgedit.weights import gguf_header
from imgedit.weights.safetensors_header import Entry, read_header
from services.common.conversion import Begin, Order, refuse_existing
from services.common.faults import refuse_unfit
from services.diffusion.weights import gguf_weights, stored_weights
from services.diffusion.weights.checkpoint import read_json
from services.diffusion.weights.layout import Layout, Shapes, joined_shape, shapes_of

DENSE_TYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}
GGUF_TYPES = ("Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0", "BF16", "F16", "F32")
TYPES = ("auto", *GGUF_TYPES)
"""auto = BF16 to safetensors, Q8_0 to GGUF. K-quants are read, not written: the library has no writer for them."""

NAME = "diffusion_pytorch_model"
SHARD_BYTES = 5 * 10**9
"""Of safetensors: as much is held in memory at once."""

BLOCKS = re.compile(r"blocks\.\d+\.")
"""Only matrices of the repeated blocks are quantised; the layers around them are small and felt in every pixel."""


def convert(layout: Layout, architecture: str, order: Order, scratch: Path, begin: Begin) -> Path:
    """Convert in the direction of the names; see `services.common.conversion.Convert`."""
    if order.source.suffix == ".gguf":
        return to_dense(layout, order, scratch, begin)
    if order.target.suffix == ".gguf" and order.source.is_dir():
        return to_gguf(layout, architecture, order, scratch, begin)
    raise ModelLoadError("convert FILE.gguf to a folder, or a folder to FILE.gguf")


def to_dense(layout: Layout, order: Order, scratch: Path, begin: Begin) -> Path:
    """Convert a GGUF file to a folder of safetensors, in shards of at most 5 GB."""
    kind = "BF16" if order.type == "auto" else order.type
    if kind not in DENSE_TYPES:
        raise ModelLoadError(f"safetensors are written as {', '.join(DENSE_TYPES)}, not as {kind}")
    dtype = DENSE_TYPES[kind]
    config = order.config or order.target
    refuse_existing([*order.target.glob("*.safetensors"), *order.target.glob("*.safetensors.index.json")])
    entries, network = gguf_weights.open_file(layout, order.source, config)
    shapes = shapes_of(network)
    names = layout.names(network.config, shapes)
    placed = sorted((entries[name] for name in names), key=lambda entry: entry.offset)
    shards = _shards([part for entry in placed for part in names[entry.name]], shapes, dtype.itemsize)
    advance = begin(sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize)
    rows = gguf_weights.parameter_rows(order.source, entries, names, shapes, layout.halves_swapped)
    for file, parts in shards.items():
        tensors = {}
        for part, stored_as, raw in (next(rows) for _ in parts):
            tensors[part] = gguf_weights.dequantised(raw, stored_as, shapes[part], dtype)
            advance(tensors[part].nbytes)
        save_file(tensors, scratch / file, metadata={"format": "pt"})
    if len(shards) > 1:
        where = {part: file for file, parts in shards.items() for part in parts}
        total = sum(math.prod(shape) for shape in shapes.values()) * dtype.itemsize
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(where.items()))}
        (scratch / f"{NAME}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    if config != order.target:
        shutil.copyfile(config / "config.json", scratch / "config.json")
    return order.target


def _shards(parts: list[str], shapes: Shapes, itemsize: int) -> dict[str, list[str]]:
    """The files by name, and the parameters in each, in source order."""
    groups: list[list[str]] = [[]]
    size = 0
    for part in parts:
        nbytes = math.prod(shapes[part]) * itemsize
        if groups[-1] and size + nbytes > SHARD_BYTES:
            groups.append([])
            size = 0
        groups[-1].append(part)
        size += nbytes
    if len(groups) == 1:
        return {f"{NAME}.safetensors": groups[0]}
    return {f"{NAME}-{n:05}-of-{len(groups):05}.safetensors": group for n, group in enumerate(groups, start=1)}


def to_gguf(layout: Layout, architecture: str, order: Order, scratch: Path, begin: Begin) -> Path:
    """Convert a folder of safetensors to one GGUF file with GGUF tensor names."""
    kind = gguf.GGMLQuantizationType["Q8_0" if order.type == "auto" else order.type]
    refuse_existing([order.target])
    files = _headers(order.source)
    with init_empty_weights():
        network = layout.network.from_config(read_json((order.config or order.source) / "config.json"))
    shapes = shapes_of(network)
    _check(order.source, files, network, layout.model)
    names = layout.names(network.config, shapes)
    tensors = {name: joined_shape(parts, shapes) for name, parts in names.items()}
    kinds = {name: _kind(name, shape, kind) for name, shape in tensors.items()}
    markers = [marker for marker, key in layout.markers.items() if network.config.get(key)]
    logging.getLogger("gguf").setLevel(logging.WARNING)
    writer = gguf.GGUFWriter(None, architecture)
    for name, shape in tensors.items():
        writer.add_tensor_info(name, shape, np.dtype(np.float32), _nbytes(shape, kinds[name]), kinds[name])
    for marker in markers:
        writer.add_tensor_info(marker, (0,), np.dtype(np.float32), 0, gguf.GGMLQuantizationType.F32)
    advance = begin(sum(_nbytes(shape, kinds[name]) for name, shape in tensors.items()))
    target = scratch / order.target.name
    writer.write_header_to_file(target)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for name, dense in _joined(order.source, files, names, layout.halves_swapped):
            packed = gguf.quantize(dense, kinds[name])
            writer.write_tensor_data(packed)
            advance(packed.nbytes)
        for _ in markers:
            writer.write_tensor_data(np.zeros(0, np.float32))
    finally:
        writer.close()
    written = gguf_header.read_header(target)
    gguf_weights.check_tensors(target, written, {**tensors, **dict.fromkeys(markers, (0,))}, layout.model)
    return order.target.parent


def _headers(folder: Path) -> dict[str, tuple[Path, Entry]]:
    """The position of each tensor in the folder's safetensors files."""
    found: dict[str, tuple[Path, Entry]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        for name, entry in read_header(path).items():
            if name in found:
                raise ModelLoadError(f"{path}: {name!r} is in {found[name][0].name} too")
            found[name] = (path, entry)
    if not found:
        raise ModelLoadError(f"{folder} holds no safetensors file")
    return found


def _check(folder: Path, files: Mapping[str, tuple[Path, Entry]], network: Any, model: str) -> None:
    """Check that these are exactly the network's parameters, as floats."""
    entries = {name: entry for name, (_, entry) in files.items()}
    refuse_unfit(folder, f"the {model} transformer", stored_weights.faults(entries, network.state_dict()))


def _kind(name: str, shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> gguf.GGMLQuantizationType:
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    is_matrix = len(shape) == 2 and shape[-1] % block == 0 and (block == 1 or BLOCKS.search(name) is not None)
    return kind if is_matrix else gguf.GGMLQuantizationType.F32


def _nbytes(shape: tuple[int, ...], kind: gguf.GGMLQuantizationType) -> int:
    block, block_bytes = map(int, gguf.GGML_QUANT_SIZES[kind])
    return math.prod(shape) // block * block_bytes


def _joined(
    folder: Path,
    files: Mapping[str, tuple[Path, Entry]],
    names: Mapping[str, tuple[str, ...]],
    halves_swapped: tuple[str, ...],
) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each tensor of the GGUF file in float32: its parameters, stacked by rows."""
    opened: dict[Path, Any] = {path: safe_open(path, "pt") for path in {path for path, _ in files.values()}}
    for name, parts in names.items():
        dense = torch.cat([opened[files[part][0]].get_tensor(part).float() for part in parts])
        if not bool(dense.isfinite().all()):
            raise ModelLoadError(f"{folder}: {parts[0]!r} holds numbers that are not finite")
        rows: NDArray[np.float32] = dense.numpy()
        yield name, np.roll(rows, len(rows) // 2, axis=0) if name.startswith(halves_swapped) else rows
