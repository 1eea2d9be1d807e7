"""Find the models where a catalogue says they lie.

The ComfyUI prototype's configuration file has a `path` for a model: its folder, or a GGUF file of FLUX.1-Fill.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imgedit.errors import SettingsError
from imgedit.local import gateway

SETTING = "IMGEDIT_ORCHESTRATOR_EXPERIMENTS"

SERVICE_OF = {"BEN2": "segmentation", "FLUX.1-Fill": "fill", "Qwen-Image-Edit": "qwen_edit"}
"""The service of each `model_id`, by its beginning."""


def settings_of(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The settings that make each service load what the catalogue names.

    Empty if it names no path for a service whose folder is not set. Raises `SettingsError` for a path that is not
    there, two paths for one model, and a catalogue that names only some of the models.
    """
    catalogue = environment.get(SETTING)
    if not catalogue:
        return {}
    file = Path(catalogue)
    found: dict[str, Path] = {}
    for model_id, path in _paths(file):
        service = next((name for begin, name in SERVICE_OF.items() if model_id.startswith(begin)), None)
        if service is None or f"IMGEDIT_{service.upper()}_MODELS" in environment:
            continue
        if found.setdefault(service, path) != path:
            raise SettingsError(f"{file}: models: {model_id} has two paths, {found[service]} and {path}; keep one")
    missing = [
        model_id
        for model_id, service in SERVICE_OF.items()
        if service not in found and f"IMGEDIT_{service.upper()}_MODELS" not in environment
    ]
    if not found:
        return {}
    if missing:
        raise SettingsError(
            f"{file}: models: no path for {' and '.join(missing)}; add it as `path`, or name one folder for all by "
            "--models"
        )
    return {key: value for service, path in found.items() for key, value in _settings(file, service, path).items()}


def _settings(file: Path, service: str, path: Path) -> dict[str, str]:
    name = f"IMGEDIT_{service.upper()}"
    if path.is_dir():
        return {f"{name}_MODELS": str(path.parent.resolve()), f"{name}_FOLDER": path.name}
    if path.is_file() and path.suffix == ".gguf" and service != "segmentation":
        # The text encoders and the VAE are in the model's folder beside it.
        return {f"{name}_MODELS": str(path.parent.resolve()), f"{name}_GGUF": path.name}
    if path.exists():
        raise SettingsError(f"{file}: models: {path} is neither a folder nor a GGUF file of a diffusion model")
    raise SettingsError(f"{file}: models: {path} is not on this machine; change `path`, or pass --models DIR")


def _paths(file: Path) -> Iterator[tuple[str, Path]]:
    """The model ids that have a path, with it."""
    yaml = gateway.import_yaml()
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{SETTING}={file}: cannot be read: {error}") from error
    for experiment in _mappings(values, "experiments"):
        for model in _mappings(experiment, "models"):
            model_id, path = model.get("model_id"), model.get("path")
            if isinstance(model_id, str) and isinstance(path, str) and path:
                yield model_id, Path(path)


def _mappings(values: Any, key: str) -> list[dict[str, Any]]:
    """The mappings of a list below a key; what else is there the orchestrator refuses."""
    found = values.get(key) if isinstance(values, dict) else None
    return [value for value in found if isinstance(value, dict)] if isinstance(found, list) else []
