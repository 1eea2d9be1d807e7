"""Predict the memory of a model service from its settings and file headers.

Reads no weights and imports no torch. `imgedit doctor` shows the result; `python -m benchmarks.full_size` compares it
with the memory of a service of the published size.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from imgedit.errors import ImgeditError, ModelLoadError
from imgedit.weights import gguf_header, safetensors_header
from services.common.settings import DiffusionSettings, load_settings
from services.diffusion.activations import Activations

Device = Literal["cpu", "cuda"]

DTYPE_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}
PLAIN = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
IN_8_BITS = "F8_E4M3"

PROCESS = 390_000_000
LIBRARIES = 140_000_000
"""Bytes of a service without a model: its own, and pages of the libraries' files. Measured on Linux."""

WORKSPACE = 1024**3
"""On CUDA: workspaces of its libraries, remembered prompts and pictures, gaps between tensors."""

TOKEN_PIXELS = 256
"""Pixels of a picture for each token of a transformer."""
JOINED_TOKENS = 2048
"""With CFG_BATCH=auto, both passes of a job of fewer tokens are one forward."""

UNPACKING = 7
"""Bytes for each number of a block-quantised matrix while diffusers makes it dense, its float32 copy among them."""


@dataclass(frozen=True)
class Tensor:
    """An entry of a weight file. kind: its number format, as the file names it."""

    name: str
    shape: tuple[int, ...]
    kind: str
    nbytes: int

    @property
    def numbers(self) -> int:
        """How many it has."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Part:
    """One network of a model's folder.

    by_setting: whether TEXT_ENCODER_WEIGHTS applies. ignored: prefixes of the names of entries that are skipped.
    tables: parts of the names of matrices outside linear layers, and of those that stay dense.
    """

    folder: str
    by_setting: bool = False
    ignored: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """The networks of a service in the order of loading, and the size of its work.

    text: tokens of a prompt. pictures: from the service's settings, the pixels of all pictures of its largest job.
    """

    parts: tuple[Part, ...]
    activations: Activations
    text: int
    pictures: Callable[[Any], int]


@dataclass(frozen=True)
class Network:
    """Bytes of one network.

    held: while the service runs. mapped: the part of them that stays in the file, on the CPU. reading: scratch while it
    is read. file: the largest of its files, mapped while it is read. working: scratch of the largest layer that becomes
    dense when it runs. layer: the largest layer as it is held.
    """

    held: int
    mapped: int
    reading: int
    file: int
    working: int
    layer: int


@dataclass(frozen=True)
class Size:
    """Bytes at once; `resident` includes the pages of mapped files."""

    anonymous: int
    resident: int


@dataclass(frozen=True)
class Needs:
    """The memory of a service.

    device: where the model runs. weights: how its transformer is held. networks: bytes that each holds. load, edit: the
    most of the host at once, from the start to SERVING and afterwards; on CUDA as well as on the CPU. on_device: the
    most of the GPU; 0 on the CPU.
    """

    device: Device
    dtype: str
    weights: str
    networks: Mapping[str, int]
    load: Size
    edit: Size
    on_device: int

    @property
    def host(self) -> int:
        """The most of the host at once that the system cannot take back."""
        return max(self.load.anonymous, self.edit.anonymous)


def needs(model: Model, settings: DiffusionSettings, *, device: Device, free: int) -> Needs:
    """The needs of a service with these settings.

    free: bytes that are free on the device, which decide what weights=auto holds. Raises `ModelLoadError` for a folder
    without weights, and for a file that is not in order.
    """
    folder = settings.models / settings.folder
    dtype = settings.dtype if settings.dtype != "auto" else "bfloat16" if device == "cuda" else "float32"
    files = {part.folder: [*_tensors(part, folder, settings)] for part in model.parts}
    work = _work(model, settings, dtype)

    def networks(transformer: str) -> dict[str, Network]:
        return {
            part.folder: _network(part, files[part.folder], _held(part, settings, transformer), dtype)
            for part in model.parts
        }

    chosen, found = "dense", networks("dense")
    if settings.weights != "dense":
        fits = sum(part.held - part.mapped for part in found.values()) + max(work) <= free
        if settings.weights != "auto" or (not fits and _is_compact(files["transformer"])):
            chosen, found = "stored", networks("stored")
    load = _load(found) if device == "cpu" else Size(0, 0)
    edit = _edit(found, work) if device == "cpu" else Size(0, 0)
    return Needs(
        device=device,
        dtype=dtype,
        weights=chosen,
        networks={name: part.held for name, part in found.items()},
        load=load,
        edit=edit,
        on_device=_on_device(found, settings, work) if device == "cuda" else 0,
    )


def _work(model: Model, settings: DiffusionSettings, dtype: str) -> tuple[int, int]:
    """Bytes of a step and of a decoding, of the largest work that the settings allow."""
    size = DTYPE_BYTES[dtype]
    tokens = model.pictures(settings) // TOKEN_PIXELS + model.text
    if settings.cfg_batch != "off":  # the two passes of a guided step at once: of small pictures, or of all
        tokens = 2 * tokens if settings.cfg_batch == "on" else max(tokens, 2 * min(tokens, JOINED_TOKENS))
    kept = (settings.region_bytes if settings.region_steps else 0) + (settings.lora_bytes if settings.loras else 0)
    step = model.activations.step * TOKEN_PIXELS * tokens * settings.max_batch * size // 2 + kept
    return step, model.activations.decode * settings.max_pixels * size // 2 + kept


def _tensors(part: Part, folder: Path, settings: DiffusionSettings) -> Iterator[tuple[Path, list[Tensor]]]:
    """The network's files and their entries, as the service chooses them."""
    inside = folder / part.folder
    safetensors, ggufs = sorted(inside.glob("*.safetensors")), sorted(inside.glob("*.gguf"))
    if part.folder == "transformer" and (settings.gguf or (ggufs and not safetensors)):
        path = settings.models / settings.gguf if settings.gguf else ggufs[0]
        entries = gguf_header.read_header(path)
        found = ((each.name, each.shape, gguf_header.TYPES[each.type][0], each.nbytes) for each in entries.values())
        yield path, [Tensor(*fields) for fields in found]
        return
    if not safetensors:
        raise ModelLoadError(f"{inside}: holds no safetensors file")
    for path in safetensors:
        listed = safetensors_header.read_header(path).items()
        yield (
            path,
            [
                Tensor(name, entry.shape, entry.dtype, entry.nbytes)
                for name, entry in listed
                if not name.startswith(part.ignored)
            ],
        )


def _held(part: Part, settings: DiffusionSettings, transformer: str) -> str:
    if part.folder == "transformer":
        return transformer
    return settings.text_encoder_weights if part.by_setting else "dense"


def _is_compact(files: Iterable[tuple[Path, list[Tensor]]]) -> bool:
    """Whether the files have matrices in less than 16 bits."""
    return any(_is_packed(tensor) for _, tensors in files for tensor in tensors)


def _is_packed(tensor: Tensor) -> bool:
    return tensor.kind not in PLAIN and tensor.kind != "F64"


def _network(part: Part, files: list[tuple[Path, list[Tensor]]], held: str, dtype: str) -> Network:
    """How the tensors of a network are held."""
    size = DTYPE_BYTES[dtype]
    found = Network(0, 0, 0, 0, 0, 0)
    for path, tensors in files:
        for tensor in tensors:
            one = _one(tensor, held, size, is_matrix=len(tensor.shape) == 2 and not _is_table(part, tensor))
            stays = path.suffix == ".safetensors" and PLAIN.get(tensor.kind) == dtype and one.held == tensor.nbytes
            found = replace(
                found,
                held=found.held + one.held,
                mapped=found.mapped + (one.held if stays else 0),
                reading=max(found.reading, one.reading),
                working=max(found.working, one.working),
                layer=max(found.layer, one.held),
            )
        if path.suffix == ".safetensors":
            found = replace(found, file=max(found.file, sum(tensor.nbytes for tensor in tensors)))
    return found


def _is_table(part: Part, tensor: Tensor) -> bool:
    return any(word in tensor.name for word in part.tables)


def _one(tensor: Tensor, held: str, size: int, *, is_matrix: bool) -> Network:
    """One tensor as a network."""
    numbers, packed = tensor.numbers, _is_packed(tensor)
    if held == "int8" and is_matrix:
        nbytes = numbers + tensor.shape[0] * size
        return Network(nbytes, 0, 0, 0, size * numbers, nbytes)
    if held == "stored" and packed and is_matrix:
        unpacking = size if tensor.kind == IN_8_BITS else UNPACKING
        return Network(tensor.nbytes, 0, 2 * tensor.nbytes, 0, unpacking * numbers, tensor.nbytes)
    return Network(size * numbers, 0, tensor.nbytes, 0, 0, size * numbers)


def _load(networks: Mapping[str, Network]) -> Size:
    """One network after the other is read; those that have been read stay."""
    anonymous, resident = [PROCESS], [PROCESS + LIBRARIES]
    own, mapped = PROCESS, LIBRARIES
    for part in networks.values():
        own += part.held - part.mapped
        anonymous.append(own + part.reading)
        resident.append(own + mapped + part.reading + max(part.file, part.mapped))
        mapped += part.mapped
    warm = max(part.working for part in networks.values())
    return Size(max(*anonymous, own + warm), max(*resident, own + mapped + warm))


def _edit(networks: Mapping[str, Network], work: tuple[int, int]) -> Size:
    step, decode = work
    others = [part for name, part in networks.items() if name != "transformer"]
    most = max(
        step + networks["transformer"].working,
        decode,
        step // 2 + max(part.working for part in others),
    )
    held = PROCESS + sum(part.held for part in networks.values())
    mapped = sum(part.mapped for part in networks.values())
    return Size(held - mapped + most, held + LIBRARIES + most)


def _on_device(networks: Mapping[str, Network], settings: DiffusionSettings, work: tuple[int, int]) -> int:
    """Weights that rest on the GPU, the largest that come and go, and the work."""
    step, decode = work
    staying, coming = 0, {}
    for name, part in networks.items():
        chosen: str = settings.offload
        if name.startswith("text_encoder") and settings.text_encoder_offload != "same":
            chosen = settings.text_encoder_offload
        if chosen == "none":
            staying += part.held
            coming[name] = 0
        elif chosen == "sequential" or (chosen == "group" and name == "transformer"):
            coming[name] = 2 * part.layer
        else:
            coming[name] = part.held
    transformer = coming.pop("transformer")
    return staying + WORKSPACE + max(transformer + step, max(coming.values()) + decode)


def main(model: Model, settings_class: type[DiffusionSettings]) -> int:
    """Print the needs for the settings in the environment as one JSON object."""
    parser = argparse.ArgumentParser(description="Predict the memory of a model service.")
    parser.add_argument("--device", choices=("cpu", "cuda"), required=True, help="where it will run")
    parser.add_argument("--free", type=int, required=True, help="bytes that are free there")
    options = parser.parse_args()
    try:
        found = needs(model, load_settings(settings_class), device=options.device, free=options.free)
    except ImgeditError as error:
        print(error.message, file=sys.stderr)
        return 1
    print(json.dumps(asdict(found) | {"host": found.host}))
    return 0
