"""Read weights tensor by tensor from their files to their device.

One tensor is held beyond those that stay. A tensor whose number format and device do not change is not copied: it stays
a part of the file, mapped into memory.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from imgedit.errors import ModelLoadError
from services.diffusion.weights import fp8
from services.diffusion.weights.int8 import Int8Linear
from services.diffusion.weights.original_names import shapes_of
from services.diffusion.weights.stored_weights import StoredNetwork, tied

Held = Literal["dense", "stored", "int8"]
"""How linear layers are held: dense; stored = matrices of 8-bit floats as they are; int8 = as 8-bit integers."""

SECONDS_BETWEEN_LINES = 10.0

log = logging.getLogger(__name__)


class Meter:
    """Tells the log how far the reading of weights is, about every ten seconds."""

    def __init__(self, path: Path, total: int) -> None:
        self._path, self._total, self._done = path, total, 0
        self._told = time.monotonic()

    def advance(self, nbytes: int) -> None:
        """So many bytes more are read."""
        self._done += nbytes
        if time.monotonic() - self._told >= SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            log.info("%s: %.1f of %.1f GB read", self._path, self._done / 1e9, self._total / 1e9)


def fill(stored: StoredNetwork, dtype: torch.dtype, device: torch.device, held: Held, dense: Sequence[str] = ()) -> Any:
    """The network with its weights on the device, in the given number format.

    held: how its linear layers are held, but those whose own names are in `dense`.
    """
    network, in_float32 = stored.network, _in_float32(stored.network, dtype)
    layers = _replaced(stored, held, lambda name: name.rpartition(".")[2] in dense or in_float32(name))
    shared = {name: group for group in tied(network) for name in group}
    for name, tensor, scale in rows(stored, device):
        number = torch.float32 if in_float32(name) else dtype
        layer = layers.get(name)
        if isinstance(layer, fp8.Fp8Linear):
            layer.hold(tensor, scale)
        elif layer is not None:
            layer.hold(tensor if scale is None else fp8.dense(tensor, scale, torch.float32), number)
        else:
            parameter = nn.Parameter(fp8.dense(tensor, scale, number), requires_grad=False)
            for each in shared.get(name, {name}):
                place(network, each, parameter)
    return network.eval().requires_grad_(False)


def rows(stored: StoredNetwork, device: torch.device) -> Iterator[tuple[str, torch.Tensor, torch.Tensor | None]]:
    """Yield each parameter as stored, on the device, with its scale or None.

    A scale is (1,) or (rows, 1) float32. One file is open at a time: the pages of a shard count as memory of
    this process until it is closed.
    """
    meter = Meter(stored.folder, stored.nbytes)
    shapes = shapes_of(stored.network)
    for path in dict.fromkeys(stored.files.values()):
        with _opened(path) as file:
            for entry in [name for name in stored.parts if stored.files[name] == path]:
                tensor, scale = file.get_tensor(entry).to(device), _scale_of(entry, stored, device)
                if entry in stored.swapped:
                    tensor, scale = _halves_swapped(tensor), None if scale is None else _halves_swapped(scale)
                start = 0
                for part in stored.parts[entry]:
                    stop = start + math.prod(shapes[part][:1])
                    own = scale if scale is None or len(scale) == 1 else scale[start:stop]
                    yield part, (tensor[start:stop] if shapes[part] else tensor).reshape(shapes[part]), own
                    start = stop
                meter.advance(stored.entries[entry].nbytes)


def _scale_of(entry: str, stored: StoredNetwork, device: torch.device) -> torch.Tensor | None:
    """The entry's scale, which may be in another file."""
    if entry not in stored.scales:
        return None
    name = stored.scales[entry]
    with _opened(stored.files[name]) as file:
        return _scale(file.get_tensor(name).to(device))


def _opened(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except SafetensorError as error:
        raise ModelLoadError(f"{path}: cannot be read: {error}") from error


def _halves_swapped(tensor: torch.Tensor) -> torch.Tensor:
    """The rows with their halves in the opposite order; a single row stays."""
    half = len(tensor) // 2
    return tensor if half == 0 else torch.cat([tensor[half:], tensor[:half]])


def _scale(numbers: torch.Tensor) -> torch.Tensor:
    """One number as (1,), one for each row as (rows, 1), in float32."""
    return numbers.to(torch.float32).reshape(-1, 1) if numbers.numel() > 1 else numbers.to(torch.float32).reshape(1)


def _in_float32(network: Any, dtype: torch.dtype) -> Callable[[str], bool]:
    """Whether a parameter stays in float32, like transformers' overflow-prone layers."""
    kept: set[str] = set()
    if dtype == torch.float16:
        kept |= set(getattr(network, "_keep_in_fp32_modules", None) or ())
    if dtype in (torch.float16, torch.bfloat16):
        kept |= set(getattr(network, "_keep_in_fp32_modules_strict", None) or ())
    return lambda name: bool(kept.intersection(name.split(".")))


def _replaced(stored: StoredNetwork, held: Held, stays: Callable[[str], bool]) -> dict[str, Any]:
    """Replace layers in the network; return the new ones by weight name."""
    layers: dict[str, Any] = {}
    if held == "dense":
        return layers
    for name, module in list(stored.network.named_modules()):
        weight = f"{name}.weight"
        if type(module) is nn.Linear and not stays(name) and (held == "int8" or weight in stored.in_8_bits):
            layers[weight] = fp8.Fp8Linear(module) if held == "stored" else Int8Linear(module)
            parent, _, own = name.rpartition(".")
            setattr(stored.network.get_submodule(parent), own, layers[weight])
    return layers


def place(network: Any, name: str, tensor: torch.Tensor) -> None:
    """Make `tensor` the parameter or the buffer of this name."""
    owner, _, own = name.rpartition(".")
    module = network.get_submodule(owner)
    if own in module._buffers:
        module._buffers[own] = tensor.data
        return
    setattr(module, own, tensor if isinstance(tensor, nn.Parameter) else nn.Parameter(tensor, requires_grad=False))
