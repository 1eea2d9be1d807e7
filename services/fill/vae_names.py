"""Names of FLUX's VAE in files of the original layout (`ae.safetensors`).

They are those of latent diffusion. Its attention has 1x1 convolutions where diffusers has matrices; its decoder counts
blocks from the other end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL

from services.diffusion.weights.original_names import Layout, Shapes

RENAMED = (
    (r"encoder\.down_blocks\.(\d+)\.resnets\.(\d+)\.", r"encoder.down.\1.block.\2."),
    (r"encoder\.down_blocks\.(\d+)\.downsamplers\.0\.", r"encoder.down.\1.downsample."),
    (r"decoder\.up_blocks\.(\d+)\.resnets\.(\d+)\.", r"decoder.up.\1.block.\2."),
    (r"decoder\.up_blocks\.(\d+)\.upsamplers\.0\.", r"decoder.up.\1.upsample."),
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
    (r"mid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1."),
    (r"mid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
    (r"conv_shortcut\.", "nin_shortcut."),
    (r"conv_norm_out\.", "norm_out."),
)


def name_table(config: Mapping[str, Any], shapes: Shapes) -> dict[str, tuple[str, ...]]:
    """Original name → the one parameter that it is."""
    last = len(config["block_out_channels"]) - 1
    table: dict[str, tuple[str, ...]] = {}
    for name in shapes:
        original = name
        for pattern, replacement in RENAMED:
            original = re.sub(pattern, replacement, original)
        original = re.sub(r"(?<=decoder\.up\.)\d+", lambda found: str(last - int(found[0])), original)
        table[original] = (name,)
    return table


LAYOUT = Layout("FLUX's VAE", AutoencoderKL, name_table)
