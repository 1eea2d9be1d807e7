"""How the demo's VAEs are taught on the demo world, and FLUX's.

16 latent channels at an eighth of the size, small.

The decoder learns from latents with noise on them, so that flat areas stay flat where a transformer's are not exact. It
sees pictures with parts that are hidden by grey too: FLUX.1-Fill encodes what a mask leaves. Writes the `vae` folder.
"""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch import Tensor
from torch.nn import functional

from demo import world
from demo.tiny.folder import seeded
from demo.train.shared import pictures
from demo.train.shared.loop import generator_of, rng_of, train
from demo.train.shared.precision import mixed_precision
from demo.train.shared.run_folder import FILL, Options, note_run
from demo.train.shared.trainer import NetworkTrainer
from services.diffusion.networks.vae_pixels import to_tensor, to_uint8

CHANNELS = (16, 32, 64, 96)
PICTURES = 1000
CROPS = ((64, 16), (64, 16), (128, 4), (128, 4), (256, 1))
"""(side, how many): as many pixels in every batch."""

HIDDEN_SHARE = 0.25
LEARNING_RATE = 4e-3
KL_WEIGHT = 1e-3
GRADIENT_WEIGHT = 0.5
COARSE_WEIGHT = 0.5
LATENT_NOISE = 0.1
"""Noise on the latents that the decoder is given, as a part of their spread."""

MEASURED = 64
SHOWN = 8


def model() -> AutoencoderKL:
    """The network with random weights; training sets its latent scale."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(CHANNELS),
        up_block_types=("UpDecoderBlock2D",) * len(CHANNELS),
        block_out_channels=CHANNELS,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=16,
        sample_size=256,
        scaling_factor=1.0,
        shift_factor=0.0,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


class VaeTrainer(NetworkTrainer):
    """Learns from crops of scenes.

    network: has `encode` and `decode` as AutoencoderKL has. pictures: how many scenes. hidden_share, word_share: of the
    crops, those with a part hidden and those of the words on shirts.
    """

    def __init__(
        self,
        seed: int,
        network: Any,
        *,
        pictures: int = PICTURES,
        hidden_share: float = HIDDEN_SHARE,
        word_share: float = 0.0,
    ) -> None:
        self._seed, self._pictures = seed, pictures
        self._hidden_share, self._word_share = hidden_share, word_share
        super().__init__(network, is_kernel, decay=0.998, lr=LEARNING_RATE)

    def step(self, number: int, progress: float) -> float:
        """One batch of crops."""
        rng, generator = rng_of(self._seed, number), generator_of(self._seed, number)
        side, count = rng.choice(CROPS)
        pixels = torch.cat([self._crop(side, rng) for _ in range(count)])
        with mixed_precision():
            posterior = self.network.encode(pixels).latent_dist
            mean = posterior.mean.float()
            spread = (posterior.std.float() ** 2 + (LATENT_NOISE * mean.detach().std()) ** 2).sqrt()
            decoded = self.network.decode(mean + spread * torch.randn(mean.shape, generator=generator)).sample
        loss = distance(decoded.float(), pixels) + KL_WEIGHT * divergence(mean, posterior.logvar.float())
        return self.learn(loss, number, progress)

    def _crop(self, side: int, rng: random.Random) -> Tensor:
        """(1, 3, side, side) in [-1, 1] from a random scene that is large enough."""
        while True:
            seed = rng.randrange(self._pictures)
            rgb, alpha = pictures.picture(seed)
            if min(alpha.shape) >= side:
                break
        height, width = alpha.shape
        top, left = rng.randint(0, height - side), rng.randint(0, width - side)
        if rng.random() < self._word_share and (word := pictures.word_box(seed)) is not None:
            top, left = (
                min(max(0, (low + high - side) // 2 + rng.randint(-side // 4, side // 4)), length - side)
                for low, high, length in ((word[1], word[3], height), (word[0], word[2], width))
            )
        box = np.s_[top : top + side, left : left + side]
        pixels = to_tensor(np.ascontiguousarray(rgb[box]))
        if rng.random() < self._hidden_share:
            kept = ~pictures.hidden(alpha, rng)[box]
            pixels = pixels * torch.from_numpy(kept.astype(np.float32))
        return pixels

    def sheet(self) -> Image.Image | None:
        """Held-out scenes over what becomes of them."""
        with self._average.in_place():
            return reconstructions(self.network)


def is_kernel(name: str, weight: torch.nn.Parameter) -> bool:
    """Whether a weight is that of a convolution, or else a bias or a norm's."""
    return weight.ndim == 4 and name.endswith("weight")


@torch.inference_mode()
def latents_seen(vae: Any) -> Tensor:
    """(C, N): the most likely latents of training images, to normalise them."""
    seen = [pictures.picture(seed)[0] for seed in range(MEASURED)]
    return torch.cat([vae.encode(to_tensor(rgb)).latent_dist.mean[0].flatten(1) for rgb in seen], dim=1)


def distance(made: Tensor, wanted: Tensor) -> Tensor:
    """How far pictures (B, 3, H, W) are apart.

    Their pixels, their edges, and both seen from further away.
    """
    loss = (made - wanted).abs().mean()
    for axis in (2, 3):
        loss = loss + GRADIENT_WEIGHT * (made.diff(dim=axis) - wanted.diff(dim=axis)).abs().mean()
    for factor in (2, 8):
        apart = functional.avg_pool2d(made, factor) - functional.avg_pool2d(wanted, factor)
        loss = loss + COARSE_WEIGHT * apart.abs().mean()
    return loss


def divergence(mean: Tensor, logvar: Tensor) -> Tensor:
    """Of the posterior from a standard normal distribution, per latent number."""
    return 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()


@torch.inference_mode()
def reconstructed(vae: Any, seed: int) -> tuple[pictures.Pixels, pictures.Pixels]:
    """A scene, 256 px, and its VAE reconstruction."""
    rgb = world.render(world.sample(random.Random(seed))).rgb
    return rgb, to_uint8(vae.decode(vae.encode(to_tensor(rgb)).latent_dist.mode()).sample)


def reconstructions(vae: Any) -> Image.Image:
    """A sheet: held-out scenes above their VAE reconstructions."""
    rows = [reconstructed(vae, seed) for seed in world.HELD_OUT_SEEDS[:SHOWN]]
    return pictures.tiled([[row[0] for row in rows], [row[1] for row in rows]])


def psnr(vae: Any) -> float:
    """Mean over held-out scenes of how true the reconstruction is, in dB."""
    values = []
    for seed in world.HELD_OUT_SEEDS[:MEASURED]:
        wanted, made = reconstructed(vae, seed)
        error = float(((wanted.astype(np.float64) - made) ** 2).mean())
        values.append(10 * math.log10(255**2 / error))
    return sum(values) / len(values)


def run(options: Options) -> None:
    """Train it and write `vae/` into the folder of FLUX.1-Fill."""
    with seeded(options.seed):
        trainer = VaeTrainer(options.seed, model())
    report = train(trainer, scratch=options.scratch / "vae", budget=options.budget, resume=options.resume)
    trainer.finish()
    vae, folder = trainer.network, options.out / FILL
    latents = latents_seen(vae)
    vae.register_to_config(shift_factor=round(float(latents.mean()), 4))
    vae.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))
    torch.nn.Module.to(vae, torch.bfloat16)  # diffusers' own `to` warns of nothing
    vae.save_pretrained(folder / "vae")
    quality = psnr(vae.float())
    note_run(folder, "vae", report, seed=options.seed, psnr_db=round(quality, 2), scenes=PICTURES)
