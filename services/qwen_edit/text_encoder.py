"""Load Qwen2.5-VL, the text encoder, with its own weight and attention settings."""

from pathlib import Path
from typing import Any

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from imgedit.errors import SettingsError
from services.diffusion.weights import checkpoint
from services.diffusion.weights.reading import Held

DENSE = ("lm_head",)
"""The vocabulary may share its weights with the embedding."""


def load_text_encoder(folder: Path, dtype: torch.dtype, device: torch.device, held: Held, attention: str) -> Any:
    """Qwen2.5-VL of a component's folder, on the device.

    held: see `reading.Held`. attention: one of transformers', empty = its choice. Raises `ModelLoadError` naming the
    folder, `SettingsError` for an attention that cannot be had.
    """
    encoder = checkpoint.load_network(
        Qwen2_5_VLForConditionalGeneration, folder, dtype, device=device, held=held, dense=DENSE
    )
    if attention:
        try:
            encoder.set_attn_implementation(attention)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"the text encoder's attention {attention!r} cannot be used: {error}") from error
    return encoder
