"""Load the components of a checkpoint folder: local safetensors, no foreign code.

Expects the diffusers layout (`model_index.json`, one subfolder per component). Every network is compared with its files
before loading, see `stored_weights`.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import diffusers.utils.logging
import torch
import transformers.utils.logging
from safetensors import SafetensorError

from imgedit.errors import ModelLoadError
from imgedit.weights.lfs import refuse_pointer
from services.diffusion.weights import prequantised
from services.diffusion.weights.original_names import Layout
from services.diffusion.weights.reading import Held, fill
from services.diffusion.weights.stored_weights import Ignored, StoredNetwork, check_network

UNSAFE_SUFFIXES = (".py", ".pyc", ".so", ".pkl", ".pickle")
SAMPLE_BYTES = 65_536
CPU = torch.device("cpu")


def check_folder(folder: Path, pipeline: str, components: Iterable[str]) -> None:
    """Reject a folder that is not a complete checkpoint of the pipeline, or has code.

    Raises `ModelLoadError` that names the path.
    """
    if not folder.is_dir():
        raise ModelLoadError(
            f"{folder}: no such folder; a checkpoint of {pipeline} is expected there, which "
            "`imgedit models pull` brings and `imgedit models adopt` makes of ComfyUI's files"
        )
    for path in sorted(folder.rglob("*")):
        if path.suffix in UNSAFE_SUFFIXES:
            raise ModelLoadError(f"{path}: a checkpoint folder must not hold code or pickles")
    index = folder / "model_index.json"
    found = read_json(index).get("_class_name")
    if found != pipeline:
        raise ModelLoadError(f"{index}: the checkpoint is of {found}, {pipeline} is expected")
    for component in components:
        if not folder.joinpath(component).is_dir():
            raise ModelLoadError(f"{folder / component}: this part of the checkpoint is missing")
        for path in folder.joinpath(component).iterdir():
            if path.is_file() and path.suffix != ".safetensors":  # those are judged when they are needed
                refuse_pointer(path)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises `ModelLoadError` if there is none.
    """
    try:
        refuse_pointer(path)
        content = json.loads(path.read_text())
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ModelLoadError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"{path}: an object is expected")
    return content


def load_part(cls: Any, folder: Path, **options: Any) -> Any:
    """`cls.from_pretrained` on one component's folder, offline.

    Raises `ModelLoadError` that names the folder.
    """
    with _named(cls, folder):
        return cls.from_pretrained(str(folder), local_files_only=True, **options)


def load_network(
    cls: Any,
    folder: Path,
    dtype: torch.dtype,
    ignored: Ignored = MappingProxyType({}),
    *,
    layout: Layout | None = None,
    device: torch.device = CPU,
    held: Held = "dense",
    dense: Sequence[str] = (),
) -> Any:
    """Load a network with its safetensors weights, ready for inference.

    ignored: entries that its files may have beyond the network's. layout: the names of the original layout, which the
    files may use instead. held, dense: see `reading.fill`; a pre-quantised folder stays as it is. Raises
    `ModelLoadError` for all other entries, and for missing or misshapen ones and those in another number format.
    """
    join_logs()
    if prequantised.method_of(folder) is not None:
        with _named(cls, folder):
            return prequantised.load_prequantised(cls, folder, dtype)
    return fill(check_checkpoint(cls, folder, dtype, ignored, layout), dtype, device, held, dense)


def check_checkpoint(
    cls: Any, folder: Path, dtype: torch.dtype, ignored: Ignored = MappingProxyType({}), layout: Layout | None = None
) -> StoredNetwork:
    """The folder's network, still without weights, checked against its files.

    See `load_network`.
    """
    join_logs()
    with _named(cls, folder):
        return check_network(cls, folder, ignored, dtype, layout)


@contextmanager
def _named(cls: Any, folder: Path) -> Iterator[None]:
    """Turn a library's error about a component into a one-line `ModelLoadError`."""
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        text = " ".join(str(error).split())
        raise ModelLoadError(f"{folder}: {cls.__name__} cannot be loaded: {text}") from error


def join_logs() -> None:
    """Let diffusers and transformers log errors only.

    They write plain lines to standard error, and a warning about a long prompt repeats its end.
    """
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.disable_default_handler()
        library.enable_propagation()
        library.set_verbosity_error()


def revision_of(paths: Iterable[Path]) -> str:
    """Twelve hex digits from each file's name, size, first and last 64 KiB.

    Fast on files of any size; not a checksum (another tool verifies downloads).
    """
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = path.stat().st_size
        digest.update(f"{path.name}:{size}:".encode())
        with path.open("rb") as file:
            digest.update(file.read(SAMPLE_BYTES))
            file.seek(max(0, size - SAMPLE_BYTES))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()[:12]


def weight_files(folder: Path) -> list[Path]:
    """The files that decide a model's output: safetensors, GGUF and configurations."""
    return [path for kind in ("safetensors", "gguf", "json") for path in folder.glob(f"*/*.{kind}")]
