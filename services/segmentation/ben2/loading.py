"""Read a BEN2 network from a folder of weights.

Accepts the two official file formats and rejects everything else by name. Never downloads.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from imgedit.errors import ModelLoadError
from imgedit.weights.lfs import refuse_pointer
from services.common.faults import refuse_unfit
from services.segmentation.ben2.config import BEN2Config
from services.segmentation.ben2.network import BEN2

SAFETENSORS_NAME = "model.safetensors"
PICKLE_NAME = "BEN2_Base.pth"
CONFIG_NAME = "config.json"
MAX_ARCHIVE_MEMBERS = 10_000
MAX_PICKLE_BYTES = 8 * 1024 * 1024


def load(folder: Path) -> BEN2:
    """The network in `folder`, in float32 on the CPU, ready for inference.

    The weights are `model.safetensors`, else `BEN2_Base.pth` (a dict whose `model_state_dict` holds them, read with
    `weights_only`). The sizes come from `config.json` if it has keys of `BEN2Config`, else they are the official ones.
    Raises ModelLoadError, which names file and fault, if the folder or the weights are missing or wrong.
    """
    path = weights_file(folder)
    with torch.device("meta"):
        network = BEN2(read_config(folder))
    entries = _checked(path, network)
    network.load_state_dict(dict(entries), strict=True, assign=True)
    return network.requires_grad_(False).eval()


def read_weights(path: Path, config: Path | None = None) -> Mapping[str, Tensor]:
    """The entries of one weights file, checked against the network.

    Raises `ModelLoadError`. `config` is the folder of the `config.json` that gives the sizes, the file's own folder if
    None.
    """
    with torch.device("meta"):
        network = BEN2(read_config(config or path.parent))
    return _checked(path, network)


def _checked(path: Path, network: BEN2) -> Mapping[str, Tensor]:
    entries = _read_weights(path)
    _check_entries(path, entries, network.state_dict())
    return entries


def weights_file(folder: Path) -> Path:
    """The weights file that `load` reads from `folder`; raises as `load` does."""
    if not folder.is_dir():
        raise ModelLoadError(f"BEN2 weights: no folder {folder}; it should hold {SAFETENSORS_NAME} or {PICKLE_NAME}")
    # Other files are allowed: a clone of the official repository contains BEN2.py and inference.py. None is imported.
    for name in (SAFETENSORS_NAME, PICKLE_NAME):
        if (folder / name).is_file():
            return folder / name
    raise ModelLoadError(f"BEN2 weights: {folder} holds neither {SAFETENSORS_NAME} nor {PICKLE_NAME}")


def read_config(folder: Path) -> BEN2Config:
    """The sizes in `folder`'s config.json; the official ones if it states none."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        return BEN2Config()
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise ValueError("it is not a JSON object")
        return BEN2Config.from_mapping(values)
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"BEN2 weights: {path}: {error}") from error


def revision(path: Path) -> str:
    """The first 12 hex digits of the file's SHA-256.

    Names the weights in responses and cache keys.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:12]


def _read_weights(path: Path) -> Mapping[str, Tensor]:
    try:
        refuse_pointer(path)
        return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    except OSError as error:
        raise ModelLoadError(f"BEN2 weights: {path} cannot be read: {error.strerror or error}") from error


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        entries: dict[str, Tensor] = load_file(path)
        return entries
    except safetensors.SafetensorError as error:
        raise ModelLoadError(f"BEN2 weights: {path} is not a safetensors file: {error}") from error


def _read_pickle(path: Path) -> Mapping[str, Tensor]:
    refused = f"BEN2 weights: {path} is not a checkpoint of plain tensors"
    if not zipfile.is_zipfile(path):
        raise ModelLoadError(f"{refused}: it is not a zip archive")
    try:
        _check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's own text advises loading it anyway
        raise ModelLoadError(f"{refused}: it holds other objects, which could be code") from error
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise ModelLoadError(f"{refused}: {error}") from error
    state = content.get("model_state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelLoadError(f"BEN2 weights: {path} has no model_state_dict of tensors")
    return state


def _check_archive(path: Path) -> None:
    """Reject an archive bomb, or a pickle that is not a plain list of tensors."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if len(members) > MAX_ARCHIVE_MEMBERS:
        raise ValueError(f"{len(members)} members in the archive")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ValueError(f"{member.filename[:80]!r} is compressed, which torch.save never does")
        if member.filename.endswith(".pkl") and member.file_size > MAX_PICKLE_BYTES:
            raise ValueError(f"a pickle of {member.file_size} bytes")


def _check_entries(path: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ModelLoadError that counts missing, surplus and misshapen entries.

    It names the first few of each.
    """
    misshapen = [
        f"{name!r} is {_form(found[name])} instead of {_form(tensor)}"
        for name, tensor in wanted.items()
        if name in found and _form(found[name]) != _form(tensor)
    ]
    faults = {
        "missing": [repr(name) for name in wanted if name not in found],
        "surplus": [repr(str(name)[:80]) for name in found if name not in wanted],
        "misshapen or in a foreign number format": misshapen,
    }
    refuse_unfit(path, "BEN2", faults)


def _form(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"
