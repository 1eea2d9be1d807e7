"""Checkpoint folders of the published configuration, with made-up weights.

They are written tensor by tensor. The small files are those of `tests/data/published`. The transformer is a GGUF file
as published ones are: matrices of the blocks quantised, those around them BF16, all else F32. The other networks are
safetensors in bfloat16, in shards with an index where they have more than 5 GB, under the published names. Vocabularies
have the published sizes and ids, but no words.
"""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, ModelMixin
from numpy.typing import NDArray
from transformers import CLIPTextModel, Qwen2_5_VLForConditionalGeneration, T5EncoderModel

from benchmarks.full_size import numbers
from demo.tiny import tokenizers
from imgedit import installation
from services.diffusion.weights.convert import BLOCKS
from services.diffusion.weights.original_names import Layout, Shapes, joined_shape, shapes_of
from services.diffusion.weights.stored_weights import tied, without_weights
from services.fill import gguf_names as fill_names
from services.qwen_edit import gguf_names as qwen_names

PUBLISHED = installation.ROOT / "tests" / "data" / "published"
SHARD_BYTES = 5 * 10**9
COMPLETE = ".made-up-checkpoint"

Renamed = Callable[[str], str]
Overrides = Mapping[str, Mapping[str, Any]]
"""By component: values of its configuration other than the published ones."""


@dataclass(frozen=True)
class Network:
    """A network beside the transformer.

    published: from the library's name of a tensor to the name in published files.
    """

    cls: Any
    published: Renamed = lambda name: name


@dataclass(frozen=True)
class Model:
    """The parts of a model's folder.

    small: a configuration of a few megabytes in the same layout.
    """

    folder: str
    layout: Layout
    architecture: str
    networks: Mapping[str, Network]
    small: Overrides = field(default_factory=dict)

    def vocabularies(self, folder: Path) -> None:
        """Write what the published tokenizers consist of."""
        if "tokenizer_2" in parts_of(self):
            _write_clip_vocabulary(folder / "tokenizer")
            tokenizers.t5().save_pretrained(folder / "tokenizer_2")
            return
        _write_qwen_vocabulary(folder / "tokenizer")
        for name in ("vocab.json", "merges.txt", "added_tokens.json", "tokenizer_config.json"):
            shutil.copyfile(folder / "tokenizer" / name, folder / "processor" / name)


def _of_clip(name: str) -> str:
    return f"text_model.{name}"


def _of_qwen(name: str) -> str:
    return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")


_SMALL_HEADS = {"num_attention_heads": 2, "attention_head_dim": 32, "axes_dims_rope": [8, 12, 12]}
_SMALL_LANGUAGE = {
    "hidden_size": 64,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "rope_scaling": {"mrope_section": [4, 6, 6]},
}
_SMALL_VISION = {
    "depth": 1,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "out_hidden_size": 64,
    "fullatt_block_indexes": [0],
}
_SMALL_VAE = {"block_out_channels": [32, 32, 32, 32], "layers_per_block": 1}

MODELS = {
    "fill": Model(
        "FLUX.1-Fill-dev",
        fill_names.LAYOUT,
        "flux",
        {
            "text_encoder": Network(CLIPTextModel, _of_clip),
            "text_encoder_2": Network(T5EncoderModel),
            "vae": Network(AutoencoderKL),
        },
        {
            "transformer": {
                **_SMALL_HEADS,
                "num_layers": 1,
                "num_single_layers": 1,
                "joint_attention_dim": 64,
                "pooled_projection_dim": 64,
            },
            "text_encoder": {
                "hidden_size": 64,
                "intermediate_size": 64,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "projection_dim": 64,
            },
            "text_encoder_2": {"d_model": 64, "d_ff": 64, "d_kv": 32, "num_layers": 1, "num_heads": 2},
            "vae": _SMALL_VAE,
        },
    ),
    "qwen_edit": Model(
        "Qwen-Image-Edit-2509",
        qwen_names.LAYOUT,
        "qwen_image",
        {
            "text_encoder": Network(Qwen2_5_VLForConditionalGeneration, _of_qwen),
            "vae": Network(AutoencoderKLQwenImage),
        },
        {
            "transformer": {**_SMALL_HEADS, "num_layers": 1, "joint_attention_dim": 64},
            "text_encoder": {
                **_SMALL_LANGUAGE,
                "text_config": {**_SMALL_LANGUAGE, "layer_types": ["full_attention"]},
                "vision_config": _SMALL_VISION,
            },
            "vae": {"base_dim": 8, "num_res_blocks": 1},
        },
    ),
}


def write(model: Model, folder: Path, kind: str, overrides: Overrides, on_part: Callable[[str, int], None]) -> None:
    """Write the whole folder unless it is complete.

    on_part: called with the name and the bytes of each file.
    """
    stamp = json.dumps({"kind": kind, "overrides": overrides, "seed": numbers.SEED}, sort_keys=True)
    if (folder / COMPLETE).is_file() and (folder / COMPLETE).read_text() == stamp:
        return
    write_configuration(model, folder, overrides)
    for path, size in _weights(model, folder, kind):
        on_part(str(path.relative_to(folder)), size)
    (folder / COMPLETE).write_text(stamp)


def write_configuration(model: Model, folder: Path, overrides: Overrides) -> None:
    """Everything but the weights; what is in the folder is removed."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(PUBLISHED / model.folder, folder)
    model.vocabularies(folder)
    for part, values in overrides.items():
        path = folder / part / ("tokenizer_config.json" if part.startswith("tokenizer") else "config.json")
        path.write_text(json.dumps(_merged(json.loads(path.read_text()), values)))


def parts_of(model: Model) -> list[str]:
    """The components that the published index names."""
    index = json.loads((PUBLISHED / model.folder / "model_index.json").read_text())
    return [name for name in index if not name.startswith("_")]


def _merged(config: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration with other values, those of a nested object one by one."""
    return config | {
        name: _merged(config[name], value) if isinstance(value, Mapping) else value for name, value in values.items()
    }


def size_of(model: Model, kind: str) -> int:
    """Bytes of the published folder with its transformer of this type."""
    folder = PUBLISHED / model.folder
    transformer = without_weights(model.layout.network, folder / "transformer")
    tensors = _tensors(model.layout, transformer, kind)
    others = (
        shapes for name, part in model.networks.items() for _, shapes in _named(part, folder / name, without_weights)
    )
    return sum(_nbytes(shape, stored) for shape, stored in tensors.values()) + sum(2 * math.prod(s) for s in others)


def _weights(model: Model, folder: Path, kind: str) -> Iterator[tuple[Path, int]]:
    """Write the networks; each file as it is done."""
    for name, part in model.networks.items():
        entries = dict(_named(part, folder / name, without_weights))
        stem = "diffusion_pytorch_model" if issubclass(part.cls, ModelMixin) else "model"
        yield from write_safetensors(folder / name, stem, entries)
    transformer = without_weights(model.layout.network, folder / "transformer")
    path = folder / "transformer" / f"{model.folder}-{kind}.gguf"
    yield path, write_gguf(path, model.architecture, _tensors(model.layout, transformer, kind))


def _named(part: Network, folder: Path, build: Callable[[Any, Path], Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The published name and the shape of each tensor in the network's files."""
    network = build(part.cls, folder)
    left_out = {name for group in tied(network) for name in sorted(group, key=len)[1:]}
    state = network.state_dict()
    yield from ((part.published(name), tuple(tensor.shape)) for name, tensor in state.items() if name not in left_out)


def write_safetensors(folder: Path, stem: str, entries: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[Path, int]]:
    """One file, or shards and their index; each as it is written."""
    groups: list[dict[str, tuple[int, ...]]] = [{}]
    for name, shape in entries.items():
        if groups[-1] and 2 * sum(map(math.prod, [*groups[-1].values(), shape])) > SHARD_BYTES:
            groups.append({})
        groups[-1][name] = shape
    count = len(groups)
    names = (
        [f"{stem}.safetensors"]
        if count == 1
        else [f"{stem}-{n:05}-of-{count:05}.safetensors" for n in range(1, count + 1)]
    )
    for name, group in zip(names, groups, strict=True):
        yield folder / name, _write_shard(folder / name, group)
    if count > 1:
        where = {entry: name for name, group in zip(names, groups, strict=True) for entry in group}
        total = 2 * sum(map(math.prod, entries.values()))
        index = {"metadata": {"total_size": total}, "weight_map": where}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))


def _write_shard(path: Path, entries: Mapping[str, tuple[int, ...]]) -> int:
    described: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, shape in entries.items():
        begin, end = end, end + 2 * math.prod(shape)
        described[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(described).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for name, shape in entries.items():
            for part in numbers.bfloat16(name, shape):
                file.write(memoryview(part).cast("B"))
    return path.stat().st_size


Tensors = Mapping[str, tuple[tuple[int, ...], str]]
"""Name → shape and GGUF type."""


def _tensors(layout: Layout, network: Any, kind: str) -> Tensors:
    shapes: Shapes = shapes_of(network)
    found = {}
    for name, parts in layout.names(network.config, shapes).items():
        shape = joined_shape(parts, shapes)
        found[name] = (shape, "F32" if len(shape) != 2 else kind if BLOCKS.search(name) else "BF16")
    return found


def _nbytes(shape: tuple[int, ...], kind: str) -> int:
    block, size = map(int, gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]])
    return math.prod(shape) // block * size


def write_gguf(path: Path, architecture: str, tensors: Tensors) -> int:
    """The file, tensor by tensor; its bytes."""
    logging.getLogger("gguf").setLevel(logging.WARNING)
    writer = gguf.GGUFWriter(None, architecture)
    for name, (shape, kind) in tensors.items():
        number = gguf.GGMLQuantizationType[kind]
        writer.add_tensor_info(name, shape, np.dtype(np.float32), _nbytes(shape, kind), number)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    try:
        for name, (shape, kind) in tensors.items():
            writer.write_tensor_data(_made_up(name, shape, kind))
    finally:
        writer.close()
    return path.stat().st_size


def _made_up(name: str, shape: tuple[int, ...], kind: str) -> NDArray[Any]:
    if kind == "F32":
        return numbers.float32(name, shape)
    if kind == "BF16":
        return np.concatenate([*numbers.bfloat16(name, shape)]).reshape(shape).view(np.uint8)
    return numbers.quantised(name, shape, kind)


def _write_clip_vocabulary(folder: Path) -> None:
    """vocab.json with the published ids of the two marks, and no merges."""
    own = tokenizers.clip().get_vocab()
    marks = {entry["content"]: int(number) for number, entry in _added(folder).items()}
    pieces = [piece for piece in sorted(own, key=own.__getitem__) if piece not in marks]
    _write_pieces(folder, pieces, min(marks.values()), marks)


def _write_qwen_vocabulary(folder: Path) -> None:
    """vocab.json up to the added tokens, which the published files list."""
    _write_pieces(folder, tokenizers.byte_alphabet(), min(map(int, _added(folder))), {})


def _added(folder: Path) -> dict[str, Any]:
    added: dict[str, Any] = json.loads((folder / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    return added


def _write_pieces(folder: Path, pieces: Iterable[str], length: int, marks: Mapping[str, int]) -> None:
    """`length` pieces, those beyond the given ones without use, and the marks."""
    known = [*pieces]
    spare = [f"<made up {number}>" for number in range(length - len(known))]
    vocabulary = {piece: number for number, piece in enumerate([*known, *spare])} | marks
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
