"""A network's tensor names in files of its original layout.

They differ from the names of the library's modules. GGUF files and single safetensors files use them: query, key and
value are one matrix there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Shapes = Mapping[str, tuple[int, ...]]

PREFIXES = ("model.diffusion_model.", "first_stage_model.", "vae.")
"""A network's place in a whole checkpoint, which some converters leave before every name."""


@dataclass(frozen=True)
class Layout:
    """A model's tensor names in files of the original layout.

    model: its name, for messages. network: its class. names: from the network's configuration and the shapes of its
    parameters, tensor name → the parameters that its rows make up, in order; only what the model has. halves_swapped:
    tensors whose names begin so have the halves of their rows in the opposite order. markers: tensors without content
    that say which version the file is of, and what is true in its configuration.
    """

    model: str
    network: Any
    names: Callable[[Mapping[str, Any], Shapes], dict[str, tuple[str, ...]]]
    halves_swapped: tuple[str, ...] = ()
    markers: Mapping[str, str] = field(default_factory=dict)


def shapes_of(network: Any) -> Shapes:
    """The shapes of a network's parameters, by name."""
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def joined_shape(parts: tuple[str, ...], shapes: Shapes) -> tuple[int, ...]:
    """The shape of the matrix that holds these parameters one below the other."""
    return (sum(shapes[part][0] for part in parts), *shapes[parts[0]][1:])


def prefix_of(names: Iterable[str]) -> str:
    """The one of `PREFIXES` that every name has; empty where there is none."""
    listed = [*names]
    return next((prefix for prefix in PREFIXES if listed and all(name.startswith(prefix) for name in listed)), "")
