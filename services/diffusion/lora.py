"""LoRA files beside a transformer: loaded once, switched on for one forward at a time.

A LoRA that is off leaves the base weights' numbers untouched to the last bit. Knows neither model nor job.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imgedit.errors import InvalidArgument, ModelLoadError


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on disk, safetensors. scale: its strength. schedule: scheduler settings that it was distilled for."""

    path: Path
    scale: float = 1.0
    schedule: Mapping[str, Any] = field(default_factory=dict)


class LoraShelf:
    """The LoRAs of one pipeline, at most one of them active. Belongs to the worker thread."""

    def __init__(self, pipeline: Any, files: Mapping[str, LoraFile]) -> None:
        self._transformer = pipeline.transformer
        self._files = dict(files)
        self._active: str | None = None
        for name, file in self._files.items():
            load(pipeline, name, file.path)
        if self._files:
            self._transformer.disable_adapters()

    def check(self, name: str | None) -> None:
        """`InvalidArgument` unless the name is None or that of a LoRA here."""
        if name is not None and name not in self._files:
            known = ", ".join(sorted(self._files)) or "none"
            raise InvalidArgument.field("profile", f"its LoRA {name!r} is not loaded; loaded are: {known}")

    def schedule(self, name: str | None, base: Mapping[str, Any]) -> dict[str, Any]:
        """The scheduler settings for a job with this LoRA: the checkpoint's own, and the LoRA's over them."""
        return {**base, **(self._files[name].schedule if name is not None else {})}

    def use(self, name: str | None) -> None:
        """Make this LoRA, or none, the active one; nothing is done when it is already."""
        if name == self._active:
            return
        if name is None:
            self._transformer.disable_adapters()
        else:
            self._transformer.enable_adapters()
            self._transformer.set_adapters([name], [self._files[name].scale])
        self._active = name


def load(pipeline: Any, name: str, path: Path) -> None:
    """Read one LoRA file into the pipeline's transformer. Raises `ModelLoadError` naming the file."""
    if path.suffix != ".safetensors" or not path.is_file():
        raise ModelLoadError(f"{path}: a LoRA must be an existing .safetensors file")
    try:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=name, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelLoadError(f"{path}: not a LoRA for this transformer: {error}") from error
    if name not in pipeline.transformer.peft_config:
        raise ModelLoadError(f"{path}: holds no LoRA for the transformer")
