"""Load a diffusion model: the common part of FLUX.1-Fill and Qwen-Image-Edit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from services.diffusion.networks import device as devices
from services.diffusion.networks import flow
from services.diffusion.networks.lora import LoraFile, LoraRegistry
from services.diffusion.networks.memory_plan import Activations, Headroom, headroom, room_for_transformer
from services.diffusion.networks.network import Network
from services.diffusion.networks.runtime_options import RuntimeOptions, compile_blocks, offloads
from services.diffusion.networks.runtime_options import apply as apply_runtime
from services.diffusion.weights import checkpoint, gguf_weights
from services.diffusion.weights.gguf_weights import Layout, Weights

Assemble = Callable[[torch.dtype, torch.dtype], Any]
"""From the number formats of the networks and of the VAE to a pipeline without its transformer."""


@dataclass(frozen=True)
class Recipe:
    """The specifics of one model.

    pipeline, parts: required names in the folder's `model_index.json`. networks: the components with weights. layout:
    of its GGUF files. activations: memory of its work. narrow: see `LoraRegistry`. prepare: applied to the transformer
    right after loading.
    """

    service: str
    pipeline: str
    parts: tuple[str, ...]
    networks: tuple[str, ...]
    layout: Layout
    activations: Activations
    narrow: Mapping[str, int] = field(default_factory=dict)
    prepare: Callable[[Any, Path], None] = lambda *_: None


@dataclass(frozen=True)
class Source:
    """The location of the weights: a diffusers folder, and optionally a GGUF file.

    The transformer's sizes come from the folder. sha256: required hex digest of the file. weights: auto, dense or gguf,
    see `gguf_weights.load_transformer`.
    """

    folder: Path
    gguf: Path | None = None
    sha256: str | None = None
    weights: Weights = "auto"

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


def load(
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
    VAE), float32. pictures: pixels of all images of the largest job. loras: by the names in specs. Raises
    `ModelLoadError` that names the path, `SettingsError` for an unavailable device, dtype or setting.
    """
    target = devices.device_named(device)
    number = devices.dtype_named(dtype, target)
    checkpoint.check_folder(source.folder, recipe.pipeline, recipe.parts)
    if source.gguf is not None:  # rejected before anything is loaded
        gguf_weights.open_file(recipe.layout, source.gguf, source.folder / "transformer")
    pipeline = assemble(number, devices.vae_dtype(number, target))
    beside = headroom(
        recipe.activations,
        answer=runtime.max_pixels,
        pictures=pictures,
        jobs=runtime.rows,
        dtype=number,
        vae_dtype=pipeline.vae.dtype,
    )
    transformer = _transformer(recipe, source, pipeline, target, number, runtime, beside)
    recipe.prepare(transformer, source.folder)
    if runtime.compile == "regional":
        compile_blocks(transformer)  # before LoRAs and the step cache change the blocks
    pipeline.register_modules(transformer=transformer)
    registry = LoraRegistry(transformer, loras, recipe.layout, recipe.narrow)
    network = Network(pipeline, registry, step_cache_threshold=runtime.step_cache_threshold, service=recipe.service)
    apply_runtime(runtime, pipeline, recipe.networks, target)
    schedule = flow.schedule_config(source.folder / "scheduler")
    return Loaded(pipeline, schedule, network, target, number, source.revision)


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

    Not on the device yet, unless it is dequantised there.
    """
    folder = source.folder / "transformer"
    if source.gguf is None:
        return checkpoint.load_network(recipe.layout.network, folder, dtype)
    room = 0
    if source.weights == "auto":
        others = {name: getattr(pipeline, name) for name in recipe.networks if name != "transformer"}
        room = room_for_transformer(others, offloads(runtime, recipe.networks), target, beside)
    return gguf_weights.load_transformer(
        recipe.layout,
        source.gguf,
        folder,
        device=target if runtime.offload == "none" else torch.device("cpu"),
        dtype=dtype,
        weights=source.weights,
        room=room,
        sha256=source.sha256,
    )
