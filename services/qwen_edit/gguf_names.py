"""The names of Qwen-Image-Edit's transformer tensors in GGUF files.

Diffusers' own.
"""

from collections.abc import Iterable
from typing import Any

from diffusers import QwenImageTransformer2DModel

from services.diffusion.weights.layout import Layout


def name_table(_config: Any, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """GGUF tensor name → its parameter."""
    return {name: (name,) for name in names}


MARKERS = {"__index_timestep_zero__": "zero_cond_t"}
"""An empty tensor by which files of Qwen-Image-Edit-2511 are known."""

LAYOUT = Layout("Qwen-Image-Edit", QwenImageTransformer2DModel, name_table, markers=MARKERS)
