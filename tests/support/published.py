"""The published checkpoints' small files, empty networks and empty weights files.

The weights files have the published sizes.
"""

from __future__ import annotations

import functools
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import gguf
import numpy as np
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, AutoencoderKLQwenImage, FluxTransformer2DModel, QwenImageTransformer2DModel
from transformers import CLIPTextModel, Qwen2_5_VLForConditionalGeneration, T5EncoderModel

from imgedit.weights.safetensors_header import DTYPE_BYTES
from services.diffusion.weights.original_names import Layout, joined_shape, shapes_of

DATA = Path(__file__).parents[1] / "data" / "published"
FLUX, QWEN, BEN2 = DATA / "FLUX.1-Fill-dev", DATA / "Qwen-Image-Edit-2509", DATA / "BEN2"


class Part(NamedTuple):
    """A network: its folder, its class, and the published tensor and parameter counts."""

    folder: Path
    cls: Any
    tensors: int
    parameters: int


PARTS = {
    "FLUX transformer": Part(FLUX / "transformer", FluxTransformer2DModel, 1_160, 11_902_391_360),
    "FLUX VAE": Part(FLUX / "vae", AutoencoderKL, 244, 83_819_683),
    "CLIP-L": Part(FLUX / "text_encoder", CLIPTextModel, 196, 123_060_480),
    # 219 in the files: `encoder.embed_tokens` is `shared`.
    "T5-XXL": Part(FLUX / "text_encoder_2", T5EncoderModel, 220, 4_762_310_656),
    "Qwen transformer": Part(QWEN / "transformer", QwenImageTransformer2DModel, 1_933, 20_430_401_088),
    "Qwen VAE": Part(QWEN / "vae", AutoencoderKLQwenImage, 194, 126_892_531),
    "Qwen2.5-VL-7B": Part(QWEN / "text_encoder", Qwen2_5_VLForConditionalGeneration, 729, 8_292_166_656),
}


@functools.cache
def network(name: str) -> Any:
    """The network of the published size, without weights."""
    part = PARTS[name]
    with init_empty_weights():
        if hasattr(part.cls, "load_config"):
            return part.cls.from_config(part.cls.load_config(str(part.folder), local_files_only=True))
        return part.cls(part.cls.config_class.from_pretrained(str(part.folder), local_files_only=True))


def write_safetensors(path: Path, entries: dict[str, tuple[tuple[int, ...], str]]) -> int:
    """Write a safetensors file of these shapes and formats: a header and a hole."""
    described: dict[str, Any] = {}
    end = 0
    for name, (shape, dtype) in entries.items():
        begin, end = end, end + int(np.prod(shape)) * DTYPE_BYTES[dtype]
        described[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(described).encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + end)
    return 8 + len(header) + end


def gguf_kinds(layout: Layout, net: Any, mix: dict[str, str], outer: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Each tensor's shape and type in a published file.

    mix: the type of the repeated blocks' matrices under "", another type for those whose names end with a key. outer:
    of the matrices around the blocks. All else is F32.
    """
    shapes = shapes_of(net)
    kinds = {}
    for name, parts in layout.names(net.config, shapes).items():
        shape = joined_shape(parts, shapes)
        matched = next((kind for end, kind in mix.items() if end and name.endswith(end)), mix[""])
        kinds[name] = (shape, "F32" if len(shape) < 2 else matched if "blocks." in name else outer)
    return kinds


def write_gguf(path: Path, kinds: dict[str, tuple[tuple[int, ...], str]], architecture: str, prefix: str = "") -> int:
    """Write a GGUF file of these tensors: a header and a hole.

    It has the full size and takes no disk space.
    """
    logging.getLogger("gguf").setLevel(logging.WARNING)
    writer = gguf.GGUFWriter(None, architecture)
    for name, (shape, kind) in kinds.items():
        number = gguf.GGMLQuantizationType[kind]
        block, size = gguf.GGML_QUANT_SIZES[number]
        nbytes = int(np.prod(shape)) // block * size
        writer.add_tensor_info(prefix + name, shape, np.dtype(np.float32), nbytes, number)
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    sizes = (gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]] for _, kind in kinds.values())
    data = sum(
        -(-int(np.prod(shape)) // block * size // 32) * 32
        for (shape, _), (block, size) in zip(kinds.values(), sizes, strict=True)
    )
    whole = path.stat().st_size + 32 + data
    with path.open("r+b") as file:
        file.truncate(whole)
    return whole
