"""LoRAs of a transformer, switched per forward.

A profile's are loaded at the start, those that requests name on first use. LoRAs that are off leave the base weights'
numbers bit-identical. Only the transformer is changed, so cached prompts serve jobs with and without LoRAs.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer

from imgedit.errors import InternalError, InvalidArgument
from imgedit.remarks import Remarks
from services.common.checks import Scales, check_known
from services.diffusion.job_options import LoraUse
from services.diffusion.networks.lora_cache import LoraCache, load_lora
from services.diffusion.weights import lora_file
from services.diffusion.weights.lora_folder import LoraFolder
from services.diffusion.weights.original_names import Layout

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoraFile:
    """A LoRA on disk, safetensors.

    scale: its strength. schedule: scheduler settings that it was distilled for.
    """

    path: Path
    scale: float = 1.0
    schedule: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class OfferedFolder:
    """The folder of the LoRAs that requests may name.

    max_bytes: of those that are loaded. device: see `LoraCache`. service: the label of the metrics.
    """

    path: Path
    max_bytes: int
    device: torch.device | None
    service: str


class LoraRegistry:
    """The LoRAs of one transformer, switched on and off together.

    `use`, `load` and `unload` belong to the worker thread. layout: the names of its layers. narrow: layers for which
    LoRAs may have fewer inputs, and how many. folder: None = requests can name none. Raises `ModelLoadError` that names
    the file that does not fit.
    """

    def __init__(
        self,
        transformer: Any,
        files: Mapping[str, LoraFile],
        layout: Layout,
        narrow: Mapping[str, int] = MappingProxyType({}),
        folder: OfferedFolder | None = None,
    ) -> None:
        self._transformer = transformer
        self._files = dict(files)
        self._active: tuple[tuple[str, float], ...] = ()
        self._warnings: dict[str, Remarks] = {}
        self._cache: LoraCache | None = None
        # Before the first LoRA, which moves the layers inside others.
        targets = lora_file.targets_of(transformer, layout, narrow) if files or folder else {}
        if folder is not None:
            self._cache = LoraCache(
                transformer,
                LoraFolder(folder.path, targets, layout.model, transformer.dtype.itemsize, folder.max_bytes),
                targets,
                layout.model,
                max_bytes=folder.max_bytes,
                device=folder.device,
                service=folder.service,
                turn_off=self._turn_off,
            )
            self._cache.folder.names()  # logs what fits and what does not
        for name, file in self._files.items():
            weights = lora_file.read_lora(file.path, targets, layout.model)
            load_lora(transformer, name, file.path, weights.matrices)
            if weights.left_out:
                self._warnings[name] = (lora_file.without_text_encoders("profile", file.path.name, weights.left_out),)
                log.warning("%s: its part for text encoders is left out (%d entries)", file.path, len(weights.left_out))
        self._turn_off()

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of the profiles' LoRAs."""
        return tuple(self._files)

    def names(self) -> tuple[str, ...]:
        """The LoRAs that requests may name, sorted.

        Thread-safe.
        """
        return () if self._cache is None else self._cache.folder.names()

    def chosen(self, asked: Scales) -> tuple[LoraUse, ...]:
        """See `LoraFolder.chosen`.

        Thread-safe.
        """
        if self._cache is None:
            check_known([name for name, _ in asked], ())
            return ()
        return self._cache.folder.chosen(asked)

    def check(self, name: str | None) -> None:
        """Raise `InvalidArgument` unless the name is None or that of a profile's LoRA."""
        if name is not None and name not in self._files:
            known = ", ".join(sorted(self._files)) or "none"
            raise InvalidArgument.field("profile", f"its LoRA {name!r} is not loaded; loaded are: {known}")

    def warnings(self, name: str | None, uses: Sequence[LoraUse]) -> Remarks:
        """Warnings for the caller of a job with these LoRAs.

        name: the profile's. uses: the request's. Thread-safe.
        """
        of_profile = () if name is None else self._warnings.get(name, ())
        return of_profile if self._cache is None else (*of_profile, *self._cache.folder.warnings(uses))

    def schedule(self, name: str | None, base: Mapping[str, Any]) -> dict[str, Any]:
        """The checkpoint's scheduler settings, overridden by those of the profile's LoRA."""
        return {**base, **(self._files[name].schedule if name is not None else {})}

    def use(self, name: str | None, uses: Sequence[LoraUse] = ()) -> None:
        """Activate the profile's LoRA of this name, or none, and those of a request.

        Loads those that are not loaded, as `load` does.
        """
        active = [] if name is None else [(name, self._files[name].scale)]
        active += zip(self.load(uses), (use.scale for use in uses), strict=True)
        if tuple(active) == self._active:
            return
        if active:
            self._transformer.enable_adapters()
            self._transformer.set_adapters([adapter for adapter, _ in active], [scale for _, scale in active])
            self._active = tuple(active)
        else:
            self._turn_off()

    def load(self, uses: Sequence[LoraUse]) -> tuple[str, ...]:
        """Load the LoRAs of a request; returns their adapters.

        Raises `FailedPrecondition` for a file that has changed since the request came, or cannot be used.
        """
        if not uses:
            return ()
        if self._cache is None:
            raise InternalError("a job names LoRAs, and there is no folder of them")
        return self._cache.adapters(uses)

    def unload(self) -> None:
        """Unload the LoRAs that requests named.

        A later forward loads what it needs.
        """
        if self._cache is not None:
            self._cache.clear()

    def _turn_off(self) -> None:
        for layer in self._transformer.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.set_adapter([])
                layer.enable_adapters(False)
        self._active = ()
