"""Names of Qwen-Image's VAE in files of the original layout.

`qwen_image_vae.safetensors` has the names of Wan's VAE: its blocks are counted through, and the layers of a residual
block are numbered.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.diffusion.weights.original_names import Shapes

RENAMED = (
    (r"^quant_conv\.", "conv1."),
    (r"^post_quant_conv\.", "conv2."),
    (r"^(encoder|decoder)\.conv_in\.", r"\1.conv1."),
    (r"^(encoder|decoder)\.norm_out\.", r"\1.head.0."),
    (r"^(encoder|decoder)\.conv_out\.", r"\1.head.2."),
    (r"\.mid_block\.resnets\.0\.", ".middle.0."),
    (r"\.mid_block\.attentions\.0\.", ".middle.1."),
    (r"\.mid_block\.resnets\.1\.", ".middle.2."),
    (r"\.down_blocks\.", ".downsamples."),
)
IN_BLOCKS = (
    (r"\.norm1\.", ".residual.0."),
    (r"\.conv1\.", ".residual.2."),
    (r"\.norm2\.", ".residual.3."),
    (r"\.conv2\.", ".residual.6."),
    (r"\.conv_shortcut\.", ".shortcut."),
)
UP = re.compile(r"\.up_blocks\.(\d+)\.(?:resnets\.(\d+)|upsamplers\.0)\.")


def name_table(config: Mapping[str, Any], shapes: Shapes) -> dict[str, tuple[str, ...]]:
    """Original name → the one parameter that it is."""
    resnets = config["num_res_blocks"] + 1  # of each block of the decoder; its upsampler is counted after them

    def up(found: re.Match[str]) -> str:
        place = resnets if found[2] is None else int(found[2])
        return f".upsamples.{int(found[1]) * (resnets + 1) + place}."

    table: dict[str, tuple[str, ...]] = {}
    for name in shapes:
        original = UP.sub(up, name)
        for pattern, replacement in IN_BLOCKS:
            original = re.sub(pattern, replacement, original)
        for pattern, replacement in RENAMED:
            original = re.sub(pattern, replacement, original)
        table[original] = (name,)
    return table
