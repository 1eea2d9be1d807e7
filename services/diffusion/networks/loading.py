"""Load a diffusion model: the common part of FLUX.1-Fill and Qwen-Image-Edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from imgedit.errors import ModelLoadError
from services.common.weights_faults import shortened
from services.diffusion.activations import Activations
from services.diffusion.networks import device as devices
from services.diffusion.networks import flow
from services.diffusion.networks.kept_keys import KeyKeeper
from services.diffusion.networks.lora import LoraFile, LoraRegistry, OfferedFolder
from services.diffusion.networks.memory_plan import Headroom, headroom, room_for_transformer
from services.diffusion.networks.network import Network
from services.diffusion.networks.runtime_options import RuntimeOptions, compile_blocks, offloads
from services.diffusion.networks.runtime_options import apply_runtime_options as apply_runtime
from services.diffusion.weights import checkpoint, gguf_weights, prequantised
from services.diffusion.weights.gguf_weights import Weights
from services.diffusion.weights.original_names import Layout, shapes_of
from services.diffusion.weights.reading import Held, fill

Assemble = Callable[[torch.dtype, torch.dtype, Callable[[str], torch.device]], Any]
"""From the number formats of the networks and of the VAE, and from the device that each network is read to, to a
pipeline without its transformer."""


@dataclass(frozen=True)
class Recipe:
    """The specifics of one model.

    pipeline, parts: what the folder's `model_index.json` must name. networks: the components with weights. layout: of
    its transformer's original files. activations: memory that its work takes. keep_keys: has the transformer's
    attention keep keys and values. narrow: see `LoraRegistry`. prepare: done to the transformer of this folder as soon
    as it is loaded.
    """

    service: str
    pipeline: str
    parts: tuple[str, ...]
    networks: tuple[str, ...]
    layout: Layout
    activations: Activations
    keep_keys: Callable[[Any, KeyKeeper], None]
    narrow: Mapping[str, int] = field(default_factory=dict)
    prepare: Callable[[Any, Path], None] = lambda *_: None


@dataclass(frozen=True)
class Source:
    """The location of the weights: a diffusers folder, and optionally a GGUF file.

    The transformer's sizes come from the folder. sha256: hex digest that the file must have. weights: auto, dense or
    stored, for a GGUF file and for 8-bit floats, see `gguf_weights.choose_weights`.
    """

    folder: Path
    gguf: Path | None = None
    sha256: str | None = None
    weights: Weights = "auto"

    def resolved(self) -> Source:
        """The source with the GGUF file in the transformer's folder, if any.

        A folder with safetensors files keeps those.
        """
        folder = self.folder / "transformer"
        inside = sorted(folder.glob("*.gguf"))
        if self.gguf is not None or not inside or any(folder.glob("*.safetensors")):
            return self
        if len(inside) > 1:
            names = shortened([path.name for path in inside])
            raise ModelLoadError(f"{folder} holds {len(inside)} GGUF files ({names}); one is expected")
        return replace(self, gguf=inside[0])

    @property
    def revision(self) -> str:
        """A short hash of the weight files."""
        files = checkpoint.weight_files(self.folder)
        return checkpoint.revision_of(files if self.gguf is None else [*files, self.gguf])


@dataclass(frozen=True)
class Loaded:
    """A model on its device.

    schedule: the scheduler's configuration. dtype: of all networks but the VAE.
    """

    pipeline: Any
    schedule: dict[str, Any]
    network: Network
    target: torch.device
    dtype: torch.dtype
    revision: str


def load_pipeline(
    recipe: Recipe,
    source: Source,
    assemble: Assemble,
    *,
    device: str,
    dtype: str,
    pictures: int,
    loras: Mapping[str, LoraFile],
    runtime: RuntimeOptions,
) -> Loaded:
    """Load a model, without downloads or code from the folder.

    device: auto, cpu, cuda, cuda:N. dtype: auto (bfloat16 on CUDA, float32 on the CPU), bfloat16, float16 (not the
    VAE), float32. pictures: pixels of all images of the largest job. loras: those of profiles, by the names in specs.
    Raises `ModelLoadError` that names the path, `SettingsError` for an unavailable device, dtype or setting.
    """
    target = devices.device_named(device)
    number = devices.dtype_named(dtype, target)
    checkpoint.check_folder(source.folder, recipe.pipeline, recipe.parts)
    source = source.resolved()
    if source.gguf is not None:  # refused before anything is loaded
        gguf_weights.open_file(recipe.layout, source.gguf, source.folder / "transformer")
    resting = offloads(runtime, recipe.networks)
    pipeline = assemble(
        number,
        devices.vae_dtype(number, target),
        lambda name: target if resting[name] == "none" else checkpoint.CPU,
    )
    beside = headroom(
        recipe.activations,
        answer=runtime.max_pixels,
        pictures=pictures,
        jobs=runtime.rows,
        dtype=number,
        vae_dtype=pipeline.vae.dtype,
        kept=runtime.kept,
    )
    transformer = _transformer(recipe, source, pipeline, target, number, runtime, beside)
    recipe.prepare(transformer, source.folder)
    if runtime.compile == "regional":
        compile_blocks(transformer, runtime.compile_cache)  # before LoRAs and the step cache change the blocks
    pipeline.register_modules(transformer=transformer)
    folder = _lora_folder(recipe, runtime, target)
    registry = LoraRegistry(transformer, loras, recipe.layout, recipe.narrow, folder)
    keeper = KeyKeeper() if runtime.region_steps else None
    if keeper is not None:
        recipe.keep_keys(transformer, keeper)
    network = Network(
        pipeline,
        registry,
        step_cache_threshold=runtime.step_cache_threshold,
        service=recipe.service,
        keeper=keeper,
    )
    apply_runtime(runtime, pipeline, recipe.networks, target)
    schedule = flow.noise_schedule_config(source.folder / "scheduler")
    return Loaded(pipeline, schedule, network, target, number, source.revision)


def _lora_folder(recipe: Recipe, runtime: RuntimeOptions, target: torch.device) -> OfferedFolder | None:
    if runtime.loras is None:
        return None
    # Blocks that come as groups bring their LoRAs. Otherwise LoRAs stay on the device, wherever their layers rest.
    device = None if runtime.offload == "group" else target
    return OfferedFolder(runtime.loras, runtime.lora_bytes, device, recipe.service)


def _transformer(
    recipe: Recipe,
    source: Source,
    pipeline: Any,
    target: torch.device,
    dtype: torch.dtype,
    runtime: RuntimeOptions,
    beside: Headroom,
) -> Any:
    """The transformer of the folder or of the GGUF file.

    It is on the target device if its weights stay there, else on the CPU.
    """
    folder = source.folder / "transformer"
    device = target if runtime.offload == "none" else checkpoint.CPU

    def room() -> int:
        others = {name: getattr(pipeline, name) for name in recipe.networks if name != "transformer"}
        return room_for_transformer(others, offloads(runtime, recipe.networks), target, beside)

    if source.gguf is None:
        if prequantised.method_of(folder) is not None:
            return checkpoint.load_network(recipe.layout.network, folder, dtype)
        stored = checkpoint.check_checkpoint(recipe.layout.network, folder, dtype, layout=recipe.layout)
        held: Held = "dense"
        if stored.in_8_bits:
            free = room() if source.weights == "auto" else 0
            held = gguf_weights.choose_weights(source.weights, shapes_of(stored.network), dtype, free)
        return fill(stored, dtype, device, held)
    return gguf_weights.load_transformer(
        recipe.layout,
        source.gguf,
        folder,
        device=device,
        dtype=dtype,
        weights=source.weights,
        room=room() if source.weights == "auto" else 0,
        sha256=source.sha256,
    )
