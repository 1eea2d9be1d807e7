"""The memory budget of the transformer's weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from services.diffusion.activations import Activations
from services.diffusion.networks import device as devices
from services.diffusion.networks.offload import Offload, largest_layer, nbytes

WORKSPACE = 1024**3
"""Bytes for the workspaces of CUDA's libraries, remembered prompts and pictures, and gaps between tensors."""

HOST = torch.device("cpu")


@dataclass(frozen=True)
class Headroom:
    """Bytes of activations: the largest batch's step, the largest image's decoding."""

    step: int
    decode: int


def headroom(
    activations: Activations,
    *,
    answer: int,
    pictures: int,
    jobs: int,
    dtype: torch.dtype,
    vae_dtype: torch.dtype,
    kept: int = 0,
) -> Headroom:
    """The memory of the largest job.

    answer, pictures: pixels of one job, of its answer and of all its pictures. kept: bytes that stay between steps.
    """
    return Headroom(
        step=activations.step * pictures * jobs * dtype.itemsize // 2 + kept,
        decode=activations.decode * answer * vae_dtype.itemsize // 2 + kept,
    )


def room_for_transformer(
    others: Mapping[str, Any], offloads: Mapping[str, Offload], device: torch.device, beside: Headroom
) -> int:
    """The bytes left for the transformer's weights; can be negative.

    others: the pipeline's other networks by name, on the host or on the device. offloads: the placement of each
    network. beside: the activations.
    """
    own = offloads["transformer"]
    if own in ("group", "sequential"):
        # With a stream, which CUDA uses, each block of a group exists twice: as read, and page-locked.
        twice = own == "group" and device.type == "cuda"
        return devices.free_bytes(HOST) // (2 if twice else 1)
    free = devices.free_bytes(device) - WORKSPACE
    if device.type == "cpu":
        return free - max(beside.step, beside.decode)  # the other networks' weights are files, mapped into memory
    to_come = {name: part for name, part in others.items() if not _is_on(part, device)}
    staying = sum(nbytes(part) for name, part in to_come.items() if offloads[name] == "none")
    if own == "model":
        return free - staying - max(beside.step, _come(others, offloads, "sequential", largest_layer))
    come = max(
        _come(others, offloads, "sequential", largest_layer),
        _come(others, offloads, "model", nbytes),
    )
    return free - staying - max(beside.step, beside.decode, come)


def _is_on(network: torch.nn.Module, device: torch.device) -> bool:
    """Whether the network is already on the device and its bytes are not free there."""
    first = next(network.parameters(), None)
    return first is not None and first.device.type == device.type


def _come(others: Mapping[str, Any], offloads: Mapping[str, Offload], offload: Offload, size: Any) -> int:
    """The largest of the networks with this placement."""
    return max((size(part) for name, part in others.items() if offloads[name] == offload), default=0)
