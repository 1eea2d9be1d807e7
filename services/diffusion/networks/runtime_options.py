"""Memory and speed settings of a pipeline: where weights rest, how the VAE and attention work, what is compiled.

Each is off by default and changes no result beyond rounding. Knows no model by name.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers.utils.constants import DIFFUSERS_ATTN_BACKEND

from imgedit.errors import SettingsError
from services.common.settings import DiffusionSettings
from services.diffusion.networks import device as devices
from services.diffusion.networks.guidance import CfgBatch

Offload = Literal["none", "model", "group", "sequential"]


@dataclass(frozen=True)
class RuntimeOptions:
    """offload: none = all weights stay on the device; model = one network at a time is there; group = the transformer's
    blocks come one after another, other networks as a whole; sequential = every layer comes when it runs.

    text_encoder_offload: the same for the text encoders alone (not group), None = as `offload` says.
    vae_tiling: encode and decode in overlapping tiles. vae_slicing: one picture of a batch at a time. attention: a
    diffusers attention backend ("native", "flash", "sage", …), empty = torch's choice. compile: compile the
    transformer's repeated block, once for all of them. step_cache_threshold: First Block Cache, see
    `services.diffusion.networks.network`; 0 = off. cfg_batch: see `services.diffusion.networks.guidance`.
    """

    offload: Offload = "none"
    text_encoder_offload: Offload | None = None
    vae_tiling: bool = False
    vae_slicing: bool = False
    attention: str = ""
    compile: Literal["off", "regional"] = "off"
    step_cache_threshold: float = 0.0
    cfg_batch: CfgBatch = "auto"


DEFAULT_RUNTIME = RuntimeOptions()


def runtime_of(settings: DiffusionSettings) -> RuntimeOptions:
    """What the service's settings ask for; `SettingsError` where this machine cannot do it."""
    if settings.compile == "regional":
        _check_compiler(settings)
    return RuntimeOptions(
        offload=settings.offload,
        vae_tiling=settings.vae_tiling,
        vae_slicing=settings.vae_slicing,
        attention=settings.attention,
        compile=settings.compile,
        step_cache_threshold=settings.step_cache_threshold,
        cfg_batch=settings.cfg_batch,
    )


def _check_compiler(settings: DiffusionSettings) -> None:
    """Refuse before the weights are loaded what torch would find out at the first step."""
    on_cuda = devices.device_named(settings.device).type == "cuda"
    # On CUDA Triton compiles its launchers, in C; on the CPU torch compiles C++.
    chosen = os.environ.get("CC" if on_cuda else "CXX")
    compilers = [chosen] if chosen else ["gcc", "clang"] if on_cuda else ["g++"]
    if not any(map(shutil.which, compilers)):
        raise SettingsError(
            f"{settings.variable('compile')}=regional needs a compiler, and there is no {' or '.join(compilers)} here: "
            "install it (the images hold none, docs/operations.md says how to add one), or set the variable to off"
        )


def apply(runtime: RuntimeOptions, pipeline: Any, networks: Sequence[str], device: torch.device) -> None:
    """Put the pipeline's networks (component names, in order of use) where they belong and set them up."""
    if runtime.attention:
        set_attention(pipeline.transformer, runtime.attention)
    if runtime.vae_tiling:
        pipeline.vae.enable_tiling()
    if runtime.vae_slicing:
        pipeline.vae.enable_slicing()
    if runtime.compile == "regional":
        pipeline.transformer.compile_repeated_blocks()
    place(runtime, pipeline, networks, device)


def set_attention(transformer: Any, backend: str) -> None:
    """Choose diffusers' attention backend; `SettingsError` when it is unknown or not installed."""
    try:
        transformer.set_attention_backend(backend)
    except (ValueError, RuntimeError, ImportError) as error:
        raise SettingsError(f"attention backend {backend!r} cannot be used: {error}") from error


def takes_masks(backend: str) -> bool:
    """Whether this attention backend, empty = diffusers' choice, is known to keep a mask of booleans as it is meant.

    torch's own does. Of the others, some refuse a mask, and some add it to the logits as zeros and ones.
    """
    return (backend or DIFFUSERS_ATTN_BACKEND) == "native"


def place(runtime: RuntimeOptions, pipeline: Any, networks: Sequence[str], device: torch.device) -> None:
    """Move the networks to the device, or arrange that they move when they are used."""
    staying, taking_turns = [], []
    for name in networks:
        part, offload = getattr(pipeline, name), offload_of(name, runtime)
        if offload == "none":
            staying.append(part.to(device))
        elif offload == "sequential":
            cpu_offload(part, execution_device=device, offload_buffers=True)
        elif offload == "group" and name == "transformer":
            part.enable_group_offload(
                onload_device=device,
                offload_type="block_level",
                num_blocks_per_group=1,
                use_stream=device.type == "cuda",
            )
        else:
            taking_turns.append(part)
    TakesTurns.attach(taking_turns, staying, device)


def offload_of(network: str, runtime: RuntimeOptions) -> Offload:
    """Where the weights of this component of a pipeline rest."""
    if network.startswith("text_encoder") and runtime.text_encoder_offload is not None:
        return runtime.text_encoder_offload
    return runtime.offload


def free_for_transformer(pipeline: Any, networks: Sequence[str], device: torch.device, runtime: RuntimeOptions) -> int:
    """Bytes that the transformer may take where it will run, once the pipeline's other networks are in their places."""
    if runtime.offload in ("group", "sequential"):
        return devices.free_bytes(torch.device("cpu"))
    free = devices.free_bytes(device)
    if device.type == "cpu":
        return free
    others = (name for name in networks if name != "transformer")
    return free - sum(nbytes(getattr(pipeline, name)) for name in others if offload_of(name, runtime) == "none")


def nbytes(network: torch.nn.Module) -> int:
    """Bytes of a network's weights."""
    return sum(tensor.nbytes for tensor in (*network.parameters(), *network.buffers()))


class TakesTurns(ModelHook):  # type: ignore[misc]
    """Brings a network to the device when it is used and sends the one that was there before back to the host."""

    def __init__(self, device: torch.device, present: list[Any], *, stays: bool = False) -> None:
        self._device = device
        self._present = present
        self._stays = stays

    @classmethod
    def attach(cls, parts: Sequence[Any], staying: Sequence[Any], device: torch.device) -> None:
        """Let `parts` share the device's memory; all of them start on the host.

        A single one has nobody to make room for, so it goes home when one of those that are always there is used.
        """
        present: list[Any] = []
        for part in parts:
            add_hook_to_module(part.to("cpu"), cls(device, present))
        if len(parts) == 1:
            for part in staying:
                add_hook_to_module(part, cls(device, present, stays=True))

    def pre_forward(self, module: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Called before the network's forward (a VAE's encode and decode too): swap, and move the inputs along."""
        if module not in self._present:
            while self._present:
                self._present.pop().to("cpu")
            if not self._stays:
                self._present.append(module.to(self._device))
        return send_to_device(args, self._device), send_to_device(kwargs, self._device)
