"""Check the models folder for complete checkpoints and their licences.

For `imgedit doctor`. Reads names, sizes and headers, not weights. `imgedit models verify` compares the bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imgedit.errors import ModelDownloadError, ModelLoadError
from imgedit.local.doctor import Finding
from imgedit.weights.gguf_header import read_header as read_gguf_header
from imgedit.weights.identify import identified
from imgedit.weights.model_registry import CATALOGUE, CODE_SUFFIXES, LOCK_NAME, Source, bytes_in, read_lock, readable
from imgedit.weights.safetensors_header import read_header

MAX_JSON_BYTES = 4 * 1024 * 1024
TOY_BYTES = {"ben2": 50 * 10**6, "qwen-image-edit": 10**9, "qwen-image-edit-2511": 10**9, "flux-fill": 10**9}
"""Published checkpoints are larger; a smaller one is of a toy size."""

NETWORKS = ("text_encoder", "text_encoder_2", "transformer", "vae")
BEN2_FILES = ("model.safetensors", "BEN2_Base.pth")


def weights(models: Path | None) -> Iterator[Finding]:
    """One or two findings per model, and for replacements that are present."""
    if models is None:
        advice = "name the folder by --models or IMGEDIT_MODELS; `imgedit models pull` fills it"
        yield Finding("weights", "NOTE", "no folder is named, so `imgedit up` takes the demo's checkpoints", advice)
        return
    if not models.is_dir():
        yield Finding("weights", "FAIL", f"there is no folder {models}", "make it, or correct --models")
        return
    for source in CATALOGUE.values():
        if not source.in_all and not (models / source.folder).is_dir():
            continue
        yield from _model(models, source)
    yield _record(models)


def _model(models: Path, source: Source) -> Iterator[Finding]:
    folder = models / source.folder
    name = f"weights of {source.key}"
    pull = f"imgedit models pull {source.key} --models {models}"
    if not folder.is_dir():
        yield _absent(models, source, name, pull)
        return
    try:
        gap = _gap(folder, source)
    except ModelLoadError as error:
        yield Finding(name, "FAIL", error.message, pull)
        return
    size = bytes_in(folder)
    is_toy = size < TOY_BYTES.get(source.key, 0)
    found = f"{readable(size)} in {folder}" + (", a toy size: not the published model" if is_toy else "")
    yield Finding(name, "WARN" if gap else "OK", f"{found}{'; ' if gap else ''}{gap}", _GGUF if gap else "")
    if not is_toy:
        yield _licence(source)


def _absent(models: Path, source: Source, name: str, pull: str) -> Finding:
    """The finding for a model without a folder.

    A GGUF file of the model beside the folders is recognised by its tensors.
    """
    for path in sorted(models.glob("*.gguf")):
        identity, _ = identified(path)
        if identity is not None and source.folder in identity.models:
            found = f"{path.name} is its transformer alone, and there is no {models / source.folder}"
            advice = (
                f"imgedit models adopt COMFYUI/models --models {models} lists what else it needs; or {pull} --small"
            )
            return Finding(name, "WARN", found, advice)
    return Finding(name, "NOTE", f"not in {models / source.folder}", pull)


def _gap(folder: Path, source: Source) -> str:
    """The missing parts, empty if complete.

    Raises ModelLoadError for parts that no setting can replace.
    """
    if source.required == "model_index.json":
        return _diffusers(folder)
    if source.key == "ben2":
        return _ben2(folder)
    if not (folder / source.required).is_file():
        raise ModelLoadError(f"{folder / source.required}: is not there")
    return ""


_GGUF = "set IMGEDIT_FILL_GGUF (or IMGEDIT_QWEN_EDIT_GGUF) to a GGUF file, or convert one: `imgedit models convert`"


def _licence(source: Source) -> Finding:
    name = f"licence of {source.key}"
    if source.gated:
        advice = (
            f"for anything else, ask its makers for another licence; the terms: https://huggingface.co/{source.repo}"
        )
        return Finding(name, "WARN", source.licence, advice)
    return Finding(name, "OK", source.licence)


def _ben2(folder: Path) -> str:
    present = [folder / name for name in BEN2_FILES if (folder / name).is_file()]
    if not present:
        raise ModelLoadError(f"{folder} holds neither {' nor '.join(BEN2_FILES)}")
    if present[0].suffix == ".safetensors":
        read_header(present[0])
    return ""


def _diffusers(folder: Path) -> str:
    """The missing parts that a setting may replace, in words; empty if complete."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in CODE_SUFFIXES and path.suffix != ".bin":
            raise ModelLoadError(f"{path}: code or a pickle, with which the service refuses the folder; remove it")
    gap = ""
    for component, value in _object(folder / "model_index.json").items():
        if component.startswith("_") or not isinstance(value, list) or None in value:
            continue
        if not (folder / component).is_dir():
            raise ModelLoadError(f"{folder / component} is missing")
        if component in NETWORKS and not _check_network(folder / component):
            if component != "transformer":
                raise ModelLoadError(f"{folder / component} holds no safetensors weights")
            gap = "without the transformer's weights"
    return gap


def _check_network(folder: Path) -> bool:
    """Whether there are weights.

    Raises for incomplete ones.
    """
    for index in folder.glob("*.safetensors.index.json"):
        mapped = _object(index).get("weight_map")
        for shard in sorted(set(mapped.values())) if isinstance(mapped, dict) else []:
            if not (folder / str(shard)).is_file():
                raise ModelLoadError(f"{folder / str(shard)} is missing, {index.name} names it")
    files = sorted(folder.glob("*.safetensors"))
    for file in files:
        read_header(file)
    stored = sorted(folder.glob("*.gguf"))
    for file in stored:
        read_gguf_header(file)
    return bool(files or stored)


def _object(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ModelLoadError(f"{path} is larger than {MAX_JSON_BYTES} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelLoadError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ModelLoadError(f"{path} is not a JSON file") from error
    if not isinstance(content, dict):
        raise ModelLoadError(f"{path} holds no object")
    return content


def _record(models: Path) -> Finding:
    try:
        locked = read_lock(models)
    except ModelDownloadError as error:
        return Finding("record of weights", "FAIL", error.message, "pull again, or copy it from where you pulled")
    if not locked:
        advice = f"`imgedit models pull` makes {LOCK_NAME}, and checks files that are there without a new transfer"
        return Finding("record of weights", "NOTE", f"{models} has no {LOCK_NAME}", advice)
    return Finding("record of weights", "OK", f"{len(locked)} models in {LOCK_NAME}", "imgedit models verify")
