"""Qwen-Image's 2-D VAE equals the library's on images, whole and in tiles."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLQwenImage

from services.qwen_edit import vae

SIZES = [(64, 96), (48, 40), (16, 16)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, biases and norms unlike a new network's."""
    torch.manual_seed(3)
    network = AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 2, 4, 4], num_res_blocks=2)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.05 * torch.randn_like(weight))
    path = tmp_path_factory.mktemp("qwen") / "vae"
    network.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def library(folder: Path) -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage.from_pretrained(folder).eval()


def frame(height: int, width: int, channels: int = 3, count: int = 1) -> torch.Tensor:
    return torch.randn(count, channels, 1, height, width, generator=torch.Generator().manual_seed(height + width))


@pytest.mark.parametrize("size", SIZES)
@torch.inference_mode()
def test_pictures_are_encoded_and_decoded_as_by_the_library(
    folder: Path, library: AutoencoderKLQwenImage, size: tuple[int, int]
) -> None:
    ours = vae.load(folder, torch.float32)
    pixels, latents = frame(*size, count=2), frame(size[0] // 8, size[1] // 8, 16, count=2)
    encoded = ours.encode(pixels).latent_dist.parameters
    torch.testing.assert_close(encoded, library.encode(pixels).latent_dist.parameters, atol=1e-4, rtol=1e-4)
    decoded = ours.decode(latents).sample
    torch.testing.assert_close(decoded, library.decode(latents).sample, atol=1e-4, rtol=1e-4)
    assert decoded.abs().max() <= 1
    assert decoded.std() > 0.01


@torch.inference_mode()
def test_tiles_are_those_of_the_library(folder: Path, library: AutoencoderKLQwenImage) -> None:
    ours = vae.load(folder, torch.float32)
    pixels, latents = frame(120, 88), frame(15, 11, 16)
    tiles = dict.fromkeys(("tile_sample_min_height", "tile_sample_min_width"), 64)
    strides = dict.fromkeys(("tile_sample_stride_height", "tile_sample_stride_width"), 48)
    whole = ours.decode(latents).sample
    for network in (ours, library):
        network.enable_tiling(**tiles, **strides)
    encoded = [network.encode(pixels).latent_dist.parameters for network in (ours, library)]
    torch.testing.assert_close(*encoded, atol=1e-4, rtol=1e-4)
    decoded = [network.decode(latents).sample for network in (ours, library)]
    torch.testing.assert_close(*decoded, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(decoded[0], whole, atol=1e-3)


def test_weights_for_other_frames_are_not_kept(folder: Path, library: AutoencoderKLQwenImage) -> None:
    ours = vae.load(folder, torch.bfloat16)
    kept, all_of_them = (sum(weight.numel() for weight in network.parameters()) for network in (ours, library))
    assert kept < 0.45 * all_of_them
    assert {weight.dtype for weight in ours.parameters()} == {torch.bfloat16}
    assert not any(weight.requires_grad for weight in ours.parameters())
