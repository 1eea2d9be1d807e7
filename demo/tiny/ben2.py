"""A tiny BEN2: the real class at toy sizes with seeded random weights.

Random weights find no subject, and a map of pure noise would make every example unreadable. So the output head is set
by hand: it looks at single pixels, and deep features reach it only faintly. The mask then follows the image's colours:
soft, about evenly split on a photograph, and empty on a plain image (BEN2 normalises each image, so anything else would
amplify rounding noise into a subject). It has no meaning.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from demo.tiny.folder import write_card
from services.segmentation.ben2 import BEN2, BEN2Config
from services.segmentation.ben2.backbone import relative_position_index

CONFIG = BEN2Config(
    image_size=256,
    embed_dim=16,
    depths=(2, 2, 2, 2),
    num_heads=(1, 2, 4, 8),
    window_size=6,
    mlp_ratio=2,
    decoder_dim=16,
    head_dim=24,
    localization_pool_ratios=(1, 2, 4),
)
DEEP_GAIN = 1e-7  # of the deep features, against the pixel-fine ones that they are added to
LOGIT_GAIN = 36.0  # spread of the map's logits before the sigmoid
LOGIT_BIAS = -8.0  # logit of a picture without any contrast
POINTWISE = ("shallow.0.weight", "upsample1.0.weight", "upsample2.0.weight", "output.0.weight")


def build(folder: Path, seed: int) -> None:
    """Write the weights, `config.json` and the card into the existing `folder`.

    A seed gives the same bytes.
    """
    save_file(tiny_weights(seed), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(asdict(CONFIG), indent=2) + "\n")
    write_card(folder, "BEN2", seed)


def tiny_weights(seed: int) -> dict[str, torch.Tensor]:
    """The state dict: seeded noise at an even activation scale, and the output head."""
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        entries = BEN2(CONFIG).state_dict()
    weights = {name: _entry(name, entry.shape, generator) for name, entry in entries.items()}
    weights["insmask_head.6.weight"] *= DEEP_GAIN
    last = weights["output.0.weight"][:, :, 1:2, 1:2]
    last = last - last.mean()
    weights["output.0.weight"] = (last / last.norm() * LOGIT_GAIN).expand(1, CONFIG.decoder_dim, 3, 3)
    weights["output.0.bias"] = torch.full((1,), LOGIT_BIAS)
    for name in POINTWISE:
        weights[name] = _pointwise(weights[name])
    return weights


def _pointwise(kernel: torch.Tensor) -> torch.Tensor:
    """(O, I, 3, 3) with the centre tap alone.

    The zero padding at the picture's edge then has no effect.
    """
    centre = torch.zeros_like(kernel, memory_format=torch.contiguous_format)
    centre[:, :, 1, 1] = kernel[:, :, 1, 1]
    return centre


def _entry(name: str, shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    if name.endswith("relative_position_index"):
        return relative_position_index(CONFIG.window_size)
    noise = torch.randn(shape, generator=generator)
    if name.endswith("relative_position_bias_table"):
        return 0.02 * noise
    if len(shape) >= 2:
        return noise / math.sqrt(math.prod(shape[1:]))
    return 0.1 * noise + 1 if "norm" in name and name.endswith("weight") else 0.02 * noise
