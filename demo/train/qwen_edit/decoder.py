"""Fine-tune the VAE decoder of the demo's Qwen-Image on the transformer's latents.

Those are slightly noisy, and between the old and the new image. The encoder stays unchanged, so the trained latents
stay valid. Train `qwen_vae` first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage
from PIL import Image
from torch import Tensor, nn

from demo.train.flux_fill.vae import distance, is_kernel, reconstructions
from demo.train.qwen_edit.card import write_qwen_card
from demo.train.qwen_edit.dataset import drawn
from demo.train.qwen_edit.vae import PictureVae, write_vae
from demo.train.shared.loop import generator_of, rng_of, train
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import QWEN, Options, encoded_once, note_run
from demo.train.shared.trainer import NetworkTrainer
from services.diffusion.networks.vae_pixels import to_tensor
from services.diffusion.weights.checkpoint import load_network

PART = "qwen_decoder"

LESSONS = {"hands": 700, "words": 500, "faces": 200, "close": 250, "whole": 150}
"""How many of each kind are looked at."""

BATCHES = {"hands": (5.0, 10), "words": (2.0, 10), "faces": (1.0, 10), "close": (1.5, 4), "whole": (2.5, 1)}
"""How often each kind comes, and how many pictures of it are a batch."""

LEARNING_RATE = 1.5e-3
MOST_NOISE = 0.35
"""Noise on the latents, as a part of their spread; each picture has its own, up to this."""

BLENDED_SHARE = 0.5
MOST_OLD = 0.4
"""Half of the latents have up to so much of the picture before the edit left in them."""


@dataclass(frozen=True, eq=False)
class Shown:
    """N images of one size.

    pixels: (N, 3, H, W) uint8; latents, and those before the edit: (N, C, h, w).
    """

    pixels: Tensor
    latents: Tensor
    before: Tensor


class DecoderTrainer(NetworkTrainer):
    """Trains the decoding half of a VAE.

    shown: by kind of example.
    """

    def __init__(self, seed: int, vae: PictureVae, shown: dict[str, Shown]) -> None:
        self._seed, self._vae, self._shown = seed, vae, shown
        self._spread = torch.cat([some.latents.transpose(0, 1).flatten(1) for some in shown.values()], 1).std(dim=1)
        half = nn.ModuleDict({"post_quant_conv": vae.post_quant_conv, "decoder": vae.decoder})
        super().__init__(half, is_kernel, decay=0.998, lr=LEARNING_RATE)

    def step(self, number: int, progress: float) -> float:
        """One batch of pictures of one kind."""
        rng, generator = rng_of(self._seed, number), generator_of(self._seed, number)
        name = rng.choices(list(self._shown), [BATCHES[kind][0] for kind in self._shown])[0]
        some = self._shown[name]
        rows = torch.randint(len(some.pixels), (BATCHES[name][1],), generator=generator)
        latents = self.spoilt(some.latents[rows], some.before[rows], generator)
        with mixed_precision():
            made = self._vae.decode(latents).sample
        return self.learn(distance(made.float(), some.pixels[rows] / 127.5 - 1), number, progress)

    def spoilt(self, latents: Tensor, before: Tensor, generator: torch.Generator) -> Tensor:
        """(B, C, h, w) as a transformer that is not exact might leave them."""
        size = (len(latents), 1, 1, 1)
        old = MOST_OLD * torch.rand(size, generator=generator)
        old = torch.where(torch.rand(size, generator=generator) < BLENDED_SHARE, old, 0.0)
        noise = MOST_NOISE * torch.rand(size, generator=generator) * self._spread[:, None, None]
        return latents + old * (before - latents) + noise * torch.randn(latents.shape, generator=generator)

    def sheet(self) -> Image.Image | None:
        """Held-out scenes over what becomes of them."""
        with self._average.in_place():
            return reconstructions(self._vae)


@torch.inference_mode()
def shown(vae: PictureVae, name: str) -> Iterator[dict[str, Tensor]]:
    """The data of `Shown`: the first two edits of each example of a displayed kind."""
    for example in drawn(name, LESSONS[name]):
        results = example.results[:2]
        before, *latents = (vae.encode(to_tensor(rgb)).latent_dist.mean[0] for rgb in (example.source, *results))
        for rgb, after in zip(results, latents, strict=True):
            yield {"pixels": torch.from_numpy(rgb).permute(2, 0, 1), "latents": after, "before": before}


def run(options: Options) -> None:
    """Train it and write the VAE with the new decoder."""
    folder = options.out / QWEN
    vae: Any = load_network(AutoencoderKLQwenImage, folder / "vae", torch.float32)
    network = PictureVae(vae).requires_grad_(True)
    pictures_folder = options.scratch / "qwen_decoder_pictures"
    seen = {name: Shown(**encoded_once(pictures_folder, name, partial(shown, network, name))) for name in LESSONS}
    trainer = DecoderTrainer(options.seed, network, seen)
    report = train(trainer, scratch=options.scratch / PART, budget=options.budget, resume=options.resume)
    trainer.finish()
    quality = write_vae(network, folder, vae.config.latents_mean, vae.config.latents_std)
    note_run(folder, PART, report, seed=options.seed, psnr_db=quality)
    write_qwen_card(folder)
