"""Qwen-Image's VAE for single images, with 2-D instead of causal 3-D convolutions.

The network was made for videos. At a video's first frame, each convolution sees that frame after two frames of zeros,
so only the last time slice of its kernel counts. Dropping the rest gives the same numbers for a third of the work and
weights, without cached inputs for a next frame.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLQwenImage
from diffusers.models.autoencoders.autoencoder_kl_qwenimage import QwenImageCausalConv3d
from torch import Tensor, nn

from services.diffusion.weights import checkpoint
from services.diffusion.weights.original_names import Layout
from services.qwen_edit import vae_names


class SingleImageConv(nn.Conv2d):
    """A causal 3-D convolution applied to the only frame of (B, C, 1, H, W).

    Its weights are copied.
    """

    def __init__(self, causal: QwenImageCausalConv3d) -> None:
        super().__init__(
            causal.in_channels,
            causal.out_channels,
            causal.kernel_size[1:],
            causal.stride[1:],
            padding=causal._padding[0],
            device=causal.weight.device,
            dtype=causal.weight.dtype,
        )
        with torch.no_grad():
            self.weight.copy_(causal.weight[:, :, -1])
            if self.bias is not None and causal.bias is not None:
                self.bias.copy_(causal.bias)
        self.requires_grad_(causal.weight.requires_grad)

    def forward(self, frame: Tensor, *_: Any) -> Tensor:
        """Convolve, ignoring the optional cache of earlier frames, which an image lacks."""
        return super().forward(frame[:, :, 0])[:, :, None]


def replace_convolutions(network: nn.Module) -> None:
    """Replace each causal 3-D convolution by a `PictureConv`.

    Those over time alone never see an image.
    """
    for name, module in list(network.named_modules()):
        if isinstance(module, QwenImageCausalConv3d):
            parent, _, own = name.rpartition(".")
            replacement = nn.Identity() if own == "time_conv" else SingleImageConv(module)
            setattr(network.get_submodule(parent), own, replacement)


class SingleImageVae(AutoencoderKLQwenImage):  # type: ignore[misc]
    """AutoencoderKLQwenImage for images, (B, C, 1, H, W), not videos.

    Made by `load`.
    """

    def clear_cache(self) -> None:
        """Do nothing: no layer keeps its input for a next frame.

        Called before and after each image or tile.
        """
        self._feat_map = self._enc_feat_map = None
        self._conv_idx, self._enc_conv_idx = [0], [0]


def load_vae(folder: Path, dtype: torch.dtype, device: torch.device = checkpoint.CPU) -> SingleImageVae:
    """Load the VAE of a checkpoint's `vae` folder, ready for inference.

    Raises `ModelLoadError`.
    """
    layout = Layout("Qwen-Image's VAE", SingleImageVae, vae_names.name_table)
    vae: SingleImageVae = checkpoint.load_network(SingleImageVae, folder, dtype, layout=layout, device=device)
    replace_convolutions(vae)
    return vae
