"""Load Qwen2.5-VL, the text encoder, with its own weight and attention settings."""

from pathlib import Path
from typing import Any, Literal

import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from imgedit.errors import SettingsError
from services.diffusion.weights import checkpoint
from services.qwen_edit import int8

TextEncoderWeights = Literal["dense", "int8"]


def load_text_encoder(folder: Path, dtype: torch.dtype, weights: TextEncoderWeights, attention: str) -> Any:
    """Qwen2.5-VL of a component's folder, on the CPU.

    weights: dense = as stored; int8 = 8-bit linear layers. attention: one of transformers', empty = its choice. Raises
    `ModelLoadError` that names the folder, `SettingsError` for an unavailable attention.
    """
    encoder = checkpoint.load_network(Qwen2_5_VLForConditionalGeneration, folder, dtype)
    if weights == "int8":
        int8.quantise(encoder, keep=("lm_head",))  # the vocabulary may share its weights with the embedding
    if attention:
        try:
            encoder.set_attn_implementation(attention)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"the text encoder's attention {attention!r} cannot be used: {error}") from error
    return encoder
