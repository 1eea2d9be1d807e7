"""LoRAs of a transformer: loaded once, switched per forward.

An inactive LoRA leaves the base weights' numbers bit-identical. Only the transformer is changed, so cached prompts
serve jobs with and without a LoRA.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from imgedit.errors import InvalidArgument, ModelLoadError
from services.diffusion.weights import lora_file
from services.diffusion.weights.layout import Layout

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on disk, safetensors.

    scale: its strength. schedule: scheduler settings that it was distilled for.
    """

    path: Path
    scale: float = 1.0
    schedule: Mapping[str, Any] = field(default_factory=dict)


class LoraRegistry:
    """The LoRAs of one transformer, at most one of them active.

    Belongs to the worker thread. layout: the names of its layers. narrow: layers for which LoRAs may have fewer inputs,
    and how many. Raises `ModelLoadError` that names the file that does not fit.
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
            weights = lora_file.read(file.path, targets, layout.model)
            load(transformer, name, file.path, weights.matrices)
            if weights.left_out:
                self._warnings[name] = (lora_file.without_text_encoders(file.path, weights.left_out),)
                log.warning("%s: its part for text encoders is left out (%d entries)", file.path, len(weights.left_out))
        if self._files:
            transformer.disable_adapters()

    def check(self, name: str | None) -> None:
        """Raise `InvalidArgument` unless the name is None or that of a loaded LoRA."""
        if name is not None and name not in self._files:
            known = ", ".join(sorted(self._files)) or "none"
            raise InvalidArgument.field("profile", f"its LoRA {name!r} is not loaded; loaded are: {known}")

    def warnings(self, name: str | None) -> tuple[str, ...]:
        """Warnings for the caller of a job with this LoRA.

        Thread-safe.
        """
        return () if name is None else self._warnings.get(name, ())

    def schedule(self, name: str | None, base: Mapping[str, Any]) -> dict[str, Any]:
        """The scheduler settings of a job: the checkpoint's, overridden by the LoRA's."""
        return {**base, **(self._files[name].schedule if name is not None else {})}

    def use(self, name: str | None) -> None:
        """Activate this LoRA, or none."""
        if name == self._active:
            return
        if name is None:
            self._transformer.disable_adapters()
        else:
            self._transformer.enable_adapters()
            self._transformer.set_adapters([name], [self._files[name].scale])
        self._active = name


def load(transformer: Any, name: str, path: Path, matrices: dict[str, Any]) -> None:
    """Add one LoRA's matrices to the transformer.

    Raises `ModelLoadError` that names the file.
    """
    try:
        transformer.load_lora_adapter(matrices, prefix=None, adapter_name=name, low_cpu_mem_usage=True)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
        raise ModelLoadError(f"{path}: cannot be added to the transformer: {' '.join(str(error).split())}") from error
