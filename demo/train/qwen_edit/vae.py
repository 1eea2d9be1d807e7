"""The demo's Qwen-Image VAE.

The real causal 3-D network, small, taught on pictures of the demo world.

A picture is a video of one frame, of which only the last slice in time of each kernel is ever used: the training has
plain 2-D convolutions in their place, and writes them as that slice. Videos are not taught. Writes the `vae` folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKLOutput
from diffusers.models.autoencoders.vae import DecoderOutput, DiagonalGaussianDistribution
from torch import Tensor, nn

from demo.tiny.folder import seeded
from demo.train.flux_fill.vae import PICTURES, VaeTrainer, latents_seen, psnr
from demo.train.shared.loop import train
from demo.train.shared.run_folder import QWEN, Options, note_run
from services.qwen_edit.vae import replace_convolutions

PART = "qwen_vae"
WORD_SHARE = 0.3
HIDDEN_SHARE = 0.0


def model() -> AutoencoderKLQwenImage:
    """The network with random weights; training sets its latent scale."""
    return AutoencoderKLQwenImage(base_dim=16, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=1)


class PictureVae(nn.Module):
    """The network for pictures alone, with the calls of AutoencoderKL."""

    def __init__(self, vae: AutoencoderKLQwenImage) -> None:
        super().__init__()
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv
        self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder
        replace_convolutions(self)

    def encode(self, pixels: Tensor) -> AutoencoderKLOutput:
        """The posterior of (B, 3, H, W): (B, 16, H/8, W/8)."""
        moments = self.quant_conv(self.encoder(pixels[:, :, None]))[:, :, 0]
        return AutoencoderKLOutput(latent_dist=DiagonalGaussianDistribution(moments))

    def decode(self, latents: Tensor) -> DecoderOutput:
        """The pixels of (B, 16, H/8, W/8)."""
        return DecoderOutput(sample=self.decoder(self.post_quant_conv(latents[:, :, None]))[:, :, 0])


@torch.no_grad()
def with_time(pictures: PictureVae) -> AutoencoderKLQwenImage:
    """The real class with what was learnt.

    Each kernel is the last slice of one that is 0 elsewhere.
    """
    vae = model()
    learnt = pictures.state_dict()
    for name, weight in vae.state_dict().items():
        found = learnt.get(name)
        if found is None:
            weight.zero_()
        elif weight.ndim == 5:
            weight.zero_()
            weight[:, :, -1] = found
        else:
            weight.copy_(found)
    return vae


def write_vae(network: PictureVae, folder: Path, mean: Sequence[float], spread: Sequence[float]) -> float:
    """Write `vae/` into the model's folder.

    How true it is as written, in dB. mean, spread: of each latent channel.
    """
    vae = with_time(network)
    vae.register_to_config(latents_mean=list(mean), latents_std=list(spread))
    torch.nn.Module.to(vae, torch.bfloat16)  # diffusers' own `to` warns of nothing
    vae.save_pretrained(folder / "vae")
    return round(psnr(PictureVae(vae.float())), 2)


def run(options: Options) -> None:
    """Train it and write `vae/` into the folder of Qwen-Image-Edit."""
    with seeded(options.seed):
        network = PictureVae(model())
    trainer = VaeTrainer(options.seed, network, hidden_share=HIDDEN_SHARE, word_share=WORD_SHARE)
    report = train(trainer, scratch=options.scratch / PART, budget=options.budget, resume=options.resume)
    trainer.finish()
    folder = options.out / QWEN
    latents = latents_seen(network)
    mean, spread = ([round(value, 4) for value in row.tolist()] for row in (latents.mean(dim=1), latents.std(dim=1)))
    note_run(folder, PART, report, seed=options.seed, psnr_db=write_vae(network, folder, mean, spread), scenes=PICTURES)
