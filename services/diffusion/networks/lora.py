"""LoRA files beside a transformer: loaded once, switched on for one forward at a time.

A LoRA that is off leaves the base weights' numbers untouched to the last bit. Only the transformer is changed: text
encoders keep what they remember of prompts for jobs with and without the LoRA. Knows neither model nor job.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from imgedit.errors import InvalidArgument, ModelLoadError
from services.diffusion.weights import lora_file
from services.diffusion.weights.original_names import Layout

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on disk, safetensors. scale: its strength. schedule: scheduler settings that it was distilled for."""

    path: Path
    scale: float = 1.0
    schedule: Mapping[str, Any] = field(default_factory=dict)


class LoraRegistry:
    """The LoRAs of one transformer, at most one of them active. Belongs to the worker thread.

    layout: the names of its layers. narrow: layers that LoRAs may have been made for with fewer inputs, and how many.
    Raises `ModelLoadError` naming the file that does not fit.
    """

    def __init__(
        self,
        transformer: Any,
        files: Mapping[str, LoraFile],
        layout: Layout,
        narrow: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._transformer = transformer
        self._files = dict(files)
        self._active: str | None = None
        self._warnings: dict[str, tuple[str, ...]] = {}
        targets = lora_file.targets_of(transformer, layout, narrow) if files else {}
        for name, file in self._files.items():
            weights = lora_file.read_lora(file.path, targets, layout.model)
            load_lora(transformer, name, file.path, weights.matrices)
            if weights.left_out:
                self._warnings[name] = (lora_file.without_text_encoders(file.path, weights.left_out),)
                log.warning("%s: its part for text encoders is left out (%d entries)", file.path, len(weights.left_out))
        if self._files:
            transformer.disable_adapters()

    def check(self, name: str | None) -> None:
        """`InvalidArgument` unless the name is None or that of a LoRA here."""
        if name is not None and name not in self._files:
            known = ", ".join(sorted(self._files)) or "none"
            raise InvalidArgument.field("profile", f"its LoRA {name!r} is not loaded; loaded are: {known}")

    def warnings(self, name: str | None) -> tuple[str, ...]:
        """What the caller of a job with this LoRA should know; may be called from any thread."""
        return () if name is None else self._warnings.get(name, ())

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


def load_lora(transformer: Any, name: str, path: Path, matrices: dict[str, Any]) -> None:
    """Add one LoRA's matrices to the transformer. Raises `ModelLoadError` naming the file."""
    try:
        transformer.load_lora_adapter(matrices, prefix=None, adapter_name=name, low_cpu_mem_usage=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelLoadError(f"{path}: cannot be added to the transformer: {' '.join(str(error).split())}") from error
