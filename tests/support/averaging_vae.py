"""AutoencoderKLQwenImage with weights that are written by hand.

It averages squares of 8×8 pixels.

The real class with the real order of padding, strides and upsampling, so a picture that comes back shifted or stretched
was shifted or stretched by them. A random VAE gives no picture back to measure, and a trained one is 0.5 GB.

How it works: residual branches and attention add zero, shortcuts and convolutions pass channels on, a downsampling
takes the mean of two by two pixels. The two normalisations, over channels, are all but linear beside one large channel
that is constant, and the activation is undone by carrying every colour twice: silu(x) - silu(-x) = x.
"""

from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import (
    QwenImageAttentionBlock,
    QwenImageResample,
    QwenImageResidualBlock,
)
from torch import nn

LARGE = 1000.0
"""The constant channel, beside colours of up to 1."""

COLOURS, NEGATED, CONSTANT = range(3), range(3, 6), 6


@torch.no_grad()
def averaging_vae() -> AutoencoderKLQwenImage:
    """The autoencoder; three of its 16 latent channels are a square's mean colour."""
    vae = AutoencoderKLQwenImage(base_dim=16, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    for parameter in vae.parameters():
        parameter.zero_()
    for module in vae.modules():
        if isinstance(module, QwenImageResidualBlock) and isinstance(module.conv_shortcut, nn.Conv3d):
            pass_on(module.conv_shortcut)
        if isinstance(module, QwenImageResample):
            resample(module)
        assert not isinstance(module, QwenImageAttentionBlock) or not module.proj.weight.any()
    for half in (vae.encoder, vae.decoder):
        split_colours(half.conv_in)
        half.norm_out.gamma.fill_(LARGE / half.norm_out.scale)
        join_colours(half.conv_out)
    pass_on(vae.quant_conv)
    pass_on(vae.post_quant_conv)
    return vae.eval()


def middle(convolution: nn.Module) -> torch.Tensor:
    """The (out, in) weights of a convolution's tap at the pixel itself, last in time."""
    weight: torch.Tensor = convolution.weight  # type: ignore[assignment]
    while weight.ndim > 4:
        weight = weight[:, :, -1]
    return weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2]


def pass_on(convolution: nn.Module) -> None:
    """Every channel becomes the channel of its number."""
    middle(convolution).fill_diagonal_(1.0)


def split_colours(convolution: nn.Module) -> None:
    """Three channels become the colours, the negated colours and the constant."""
    for colour in COLOURS:
        middle(convolution)[colour, colour] = 1.0
        middle(convolution)[NEGATED[colour], colour] = -1.0
    convolution.bias[CONSTANT] = LARGE  # type: ignore[index,operator]


def join_colours(convolution: nn.Module) -> None:
    """The opposite of `split_colours`."""
    for colour in COLOURS:
        middle(convolution)[colour, colour] = 1.0
        middle(convolution)[colour, NEGATED[colour]] = -1.0


def resample(module: QwenImageResample) -> None:
    """Down: the mean of two by two pixels. Up: each pixel four times."""
    convolution: Any = module.resample[1]
    if module.mode.startswith("up"):
        pass_on(convolution)
    else:
        for channel in range(module.dim):
            convolution.weight[channel, channel, :2, :2] = 0.25
