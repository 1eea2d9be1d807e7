"""The examples of FLUX.1-Fill as its transformer sees them.

Latents, masks and token ids, kept in files.

Encoding is done once, a file per kind of example. Knows the VAE and the tokenizers; no transformer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL
from rich.progress import track
from torch import Tensor

from demo.train.flux_fill import examples
from demo.train.flux_fill.examples import TrainingExample
from demo.train.shared.loop import console
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import encoded_once
from services.diffusion.networks import flow
from services.diffusion.networks.vae_pixels import to_tensor
from services.fill.model import pack_mask


@dataclass(frozen=True, eq=False)
class LatentDataset:
    """Training examples of one kind.

    N of them, K variants each, tokens of H/16 × W/16 patches.

    clean: (N, K, T, 64), what is to be painted; mean, spread: (N, T, 64), of the posterior of what is kept; mask: (N,
    T, 256); t5: (N, K, 40); clip: (N, K, 77). Latents are as the transformer takes them.
    """

    size: tuple[int, int]
    clean: Tensor
    mean: Tensor
    spread: Tensor
    mask: Tensor
    t5: Tensor
    clip: Tensor


class Tokens:
    """Token ids of prompts, padded as FluxFillPipeline does."""

    def __init__(self, t5: Any, clip: Any) -> None:
        self._t5, self._clip = t5, clip

    def __call__(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """(N, 40) for T5 and (N, 77) for CLIP."""
        found = []
        for tokenizer in (self._t5, self._clip):
            made = tokenizer(
                list(prompts),
                padding="max_length",
                max_length=tokenizer.model_max_length,
                truncation=True,
                return_tensors="pt",
            )
            found.append(made.input_ids)
        return found[0], found[1]


def datasets(folder: Path, vae: AutoencoderKL, tokens: Tokens) -> dict[str, LatentDataset]:
    """All kinds of examples, encoded where `folder` does not have them yet."""
    found = {}
    for name, kind in examples.KINDS.items():

        def encode(name: str = name, count: int = kind.count) -> Iterator[dict[str, Tensor]]:
            for number in track(range(count), name, console=console, disable=not console.is_terminal):
                yield encoded(vae, tokens, examples.example(name, number))

        width, height = kind.size
        found[name] = LatentDataset((height, width), **encoded_once(folder, name, encode))
    return found


@torch.inference_mode()
def encoded(vae: AutoencoderKL, tokens: Tokens, example: TrainingExample) -> dict[str, Tensor]:
    """One example's tensors, see `LatentDataset`."""
    shift, scale = vae.config.shift_factor, vae.config.scaling_factor
    mask = torch.from_numpy(~example.kept)[None, None].float()
    pixels = torch.cat([to_tensor(rgb) for rgb in example.pictures])
    seen = torch.cat([pixels, pixels[:1] * (1 - mask)])
    with mixed_precision():
        posterior = vae.encode(seen).latent_dist
    means = flow.pack((posterior.mean.float() - shift) * scale)
    spread = flow.pack(posterior.std.float()[-1:] * scale)
    t5, clip = tokens(example.requests)
    return {
        "clean": means[:-1].bfloat16(),
        "mean": means[-1].bfloat16(),
        "spread": spread[0].bfloat16(),
        "mask": pack_mask(mask)[0].bool(),
        "t5": t5.to(torch.int16),
        "clip": clip.to(torch.int16),
    }
