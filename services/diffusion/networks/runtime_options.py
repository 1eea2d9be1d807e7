"""Memory and speed options of a pipeline: placement, VAE, attention, compilation.

Each is off by default and changes no result beyond rounding.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers.utils.constants import DIFFUSERS_ATTN_BACKEND

from imgedit.errors import SettingsError
from services.common.settings import DiffusionSettings
from services.diffusion.networks import device as devices
from services.diffusion.networks.guidance import CfgBatch
from services.diffusion.networks.offload import Offload, place


@dataclass(frozen=True)
class RuntimeOptions:
    """offload: placement of weights, see `services.diffusion.networks.offload`.

    text_encoder_offload: the same for the text encoders alone (not group), None = as `offload` says.
    vae_tiling: encode and decode in overlapping tiles. vae_slicing: one picture of a batch at a time. attention: a
    diffusers attention backend ("native", "flash", "sage", …), empty = torch's choice. compile: compile the
    transformer's repeated block, once for all of them. step_cache_threshold: First Block Cache, see
    `services.diffusion.networks.network`; 0 = off. cfg_batch: see `services.diffusion.networks.guidance`. max_pixels,
    max_batch: the largest answer and the most jobs of one forward, for which memory is kept. region_steps: whether jobs
    may run region steps, see `services.diffusion.networks.token_region`. region_bytes: the most keys and values that
    are kept for them. compile_cache: folder of compiled blocks, None = torch's own. loras: folder of the LoRAs that
    requests may name, None = none. lora_bytes: the most that those take that are loaded.
    """

    offload: Offload = "none"
    text_encoder_offload: Offload | None = None
    vae_tiling: bool = False
    vae_slicing: bool = False
    attention: str = ""
    compile: Literal["off", "regional"] = "off"
    step_cache_threshold: float = 0.0
    cfg_batch: CfgBatch = "auto"
    max_pixels: int = 2_097_152
    max_batch: int = 4
    region_steps: bool = False
    region_bytes: int = 12 * 1024**3
    compile_cache: Path | None = None
    loras: Path | None = None
    lora_bytes: int = 2 * 1024**3

    @property
    def rows(self) -> int:
        """The most rows of one forward."""
        return self.max_batch * (2 if self.cfg_batch == "on" else 1)

    @property
    def kept(self) -> int:
        """The most bytes beside the networks that stay between forwards."""
        return (self.region_bytes if self.region_steps else 0) + (self.lora_bytes if self.loras else 0)


DEFAULT_RUNTIME = RuntimeOptions()

GRAPHS = 64
"""Most graphs of one class of blocks. Batches, masks, LoRAs on and off: a service needs more than torch's limit of 8,
beyond which torch runs a block without compiling it."""


def runtime_of(settings: DiffusionSettings) -> RuntimeOptions:
    """The options of the service's settings.

    Raises `SettingsError` if this machine cannot provide them.
    """
    if settings.compile == "regional":
        _check_compiler(settings)
        _check_compile_cache(settings)
    if settings.region_steps:
        _check_region_steps(settings)
    return RuntimeOptions(
        offload=settings.offload,
        text_encoder_offload=None if settings.text_encoder_offload == "same" else settings.text_encoder_offload,
        vae_tiling=settings.vae_tiling,
        vae_slicing=settings.vae_slicing,
        attention=settings.attention,
        compile=settings.compile,
        step_cache_threshold=settings.step_cache_threshold,
        cfg_batch=settings.cfg_batch,
        max_pixels=settings.max_pixels,
        max_batch=settings.max_batch,
        region_steps=settings.region_steps,
        region_bytes=settings.region_bytes,
        compile_cache=Path(settings.compile_cache) if settings.compile_cache else None,
        loras=settings.models / settings.loras if settings.loras else None,
        lora_bytes=settings.lora_bytes,
    )


def _check_region_steps(settings: DiffusionSettings) -> None:
    """Refuse what does not go with region steps, by name."""
    name, others = settings.variable("region_steps"), []
    if not takes_masks(settings.attention):
        backend = settings.attention or f"{DIFFUSERS_ATTN_BACKEND} (DIFFUSERS_ATTN_BACKEND)"
        others.append(f"{settings.variable('attention')}={backend}: keys are kept in torch's own attention alone")
    if settings.step_cache_threshold > 0:
        others.append(
            f"{settings.variable('step_cache_threshold')}={settings.step_cache_threshold:g}: a step cache compares "
            "steps that compute the same tokens"
        )
    if others:
        raise SettingsError(f"{name}=true does not go with {'; nor with '.join(others)}; set one of them otherwise")


def _check_compiler(settings: DiffusionSettings) -> None:
    """Reject before loading what torch would reject at the first step."""
    if settings.offload == "sequential":
        raise SettingsError(
            f"{settings.variable('compile')}=regional does not go with {settings.variable('offload')}=sequential: a "
            "compiled block needs all its weights at once, and they come layer by layer; set one of the two otherwise"
        )
    on_cuda = devices.device_named(settings.device).type == "cuda"
    # On CUDA Triton compiles its launchers, in C; on the CPU torch compiles C++.
    chosen = os.environ.get("CC" if on_cuda else "CXX")
    compilers = [chosen] if chosen else ["gcc", "clang"] if on_cuda else ["g++"]
    if not any(map(shutil.which, compilers)):
        raise SettingsError(
            f"{settings.variable('compile')}=regional needs a compiler, and there is no {' or '.join(compilers)} here: "
            "install it (the images of the diffusion services hold it), or set the variable to off"
        )


def _check_compile_cache(settings: DiffusionSettings) -> None:
    """Refuse a folder in which nothing can be written."""
    if not settings.compile_cache:
        return
    try:
        Path(settings.compile_cache).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=settings.compile_cache):
            pass
    except OSError as error:
        name = settings.variable("compile_cache")
        raise SettingsError(f"{name}={settings.compile_cache}: cannot be written ({error.strerror})") from error


def apply_runtime_options(
    runtime: RuntimeOptions, pipeline: Any, networks: Sequence[str], device: torch.device
) -> None:
    """Place and configure the pipeline's networks (component names, in order of use)."""
    if runtime.attention:
        set_attention(pipeline.transformer, runtime.attention)
    if runtime.vae_tiling:
        pipeline.vae.enable_tiling()
    if runtime.vae_slicing:
        pipeline.vae.enable_slicing()
    place(pipeline, offloads(runtime, networks), device)


def compile_blocks(transformer: Any, cache: Path | None = None) -> None:
    """Compile each repeated block's `forward` on first use: one graph per class.

    cache: folder of what is compiled, which another process can load; None = torch's own.

    Call it before anything is hooked into the blocks, so hooks run outside the graph. Inside, each value that a hook
    reads, such as a job's step cache, would trigger a new graph until torch stops compiling.
    """
    if cache is not None:  # torch and Triton read them when they compile
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache / "inductor")
        os.environ["TRITON_CACHE_DIR"] = str(cache / "triton")
    torch.compiler.config.recompile_limit = GRAPHS
    for block in transformer.modules():
        if type(block).__name__ in transformer._repeated_blocks:
            block.forward = torch.compile(block.forward)


def set_attention(transformer: Any, backend: str) -> None:
    """Set diffusers' attention backend.

    Raises `SettingsError` if it is unknown or not installed.
    """
    try:
        transformer.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        raise SettingsError(f"attention backend {backend!r} cannot be used: {error}") from error


def takes_masks(backend: str) -> bool:
    """Whether this attention backend handles boolean masks correctly.

    Empty = default. torch's own does. Of the others, some reject a mask, and some add it to the logits as zeros and
    ones.
    """
    return (backend or DIFFUSERS_ATTN_BACKEND) == "native"


def offloads(runtime: RuntimeOptions, networks: Sequence[str]) -> dict[str, Offload]:
    """The placement of each component's weights."""
    return {name: _offload_of(name, runtime) for name in networks}


def _offload_of(network: str, runtime: RuntimeOptions) -> Offload:
    if network.startswith("text_encoder") and runtime.text_encoder_offload is not None:
        return runtime.text_encoder_offload
    return runtime.offload
