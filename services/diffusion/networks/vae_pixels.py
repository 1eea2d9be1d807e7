"""VAE pixels in and out, common request checks, and the preview's colour map."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from imgedit.errors import InvalidArgument
from services.diffusion.engine.preview import fit_latent_rgb


def check_sides(field: str, image: NDArray[np.uint8], multiple: int) -> None:
    """Raise `InvalidArgument` unless the image is (H, W, 3) uint8 in valid sizes.

    Sides must be multiples of `multiple`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InvalidArgument.field(field, f"must be (height, width, 3) of uint8, not {image.shape} of {image.dtype}")
    height, width, _ = image.shape
    if height % multiple or width % multiple or not height * width:
        raise InvalidArgument.field(field, f"sides must be multiples of {multiple}, not {width}x{height}")


def check_steps(steps: int, strength: float) -> None:
    """Raise `InvalidArgument` unless steps ≥ 1 and 0 ≤ strength ≤ 1.

    NaN is rejected.
    """
    if steps < 1:
        raise InvalidArgument.field("steps", f"must be at least 1, not {steps}")
    if not 0.0 <= strength <= 1.0:
        raise InvalidArgument.field("strength", f"must be from 0 to 1, not {strength}")


def to_tensor(image: NDArray[np.uint8]) -> torch.Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W) float32 in [-1, 1]."""
    unit = torch.from_numpy(image.astype(np.float32)[None] / 255.0)  # (1, H, W, 3)
    return 2.0 * unit.permute(0, 3, 1, 2) - 1.0


def to_uint8(pixels: torch.Tensor) -> NDArray[np.uint8]:
    """(1, 3, H, W) about [-1, 1] → (H, W, 3) uint8, clipped and rounded."""
    unit = (pixels.float() * 0.5 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).cpu().numpy()
    out: NDArray[np.uint8] = (unit * 255).round().astype(np.uint8)
    return out


def randn(shape: tuple[int, ...], generator: torch.Generator, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Standard normal noise from the CPU, so that a seed is device-independent."""
    return torch.randn(shape, generator=generator, dtype=dtype).to(device)


def latent_grid(latents: torch.Tensor) -> NDArray[np.float32]:
    """(1, C, h, w) on any device → (h, w, C) float32 on the CPU."""
    grid: NDArray[np.float32] = latents[0].permute(1, 2, 0).float().cpu().numpy()
    return grid


def measure_latent_rgb(encode: Callable[[torch.Tensor], torch.Tensor]) -> NDArray[np.float32]:
    """The linear map from a VAE's latents to colours, fitted on a colour chart.

    encode: (1, 3, 256, 256) in [-1, 1] → (1, C, 32, 32). Fitted rather than tabulated, so it suits any VAE. The chart
    is constant: 256 low-discrepancy colours (Roberts' R3 sequence) in patches of 16×16 pixels.
    """
    index = np.arange(256)[:, None]
    colours = (0.5 + index * np.array([0.8191725, 0.6710436, 0.5497005])) % 1.0  # (256, 3)
    chart = colours.reshape(16, 16, 3).repeat(16, axis=0).repeat(16, axis=1)  # (256, 256, 3)
    latents = latent_grid(encode(to_tensor((chart * 255).astype(np.uint8))))
    targets = colours.reshape(16, 16, 3).repeat(2, axis=0).repeat(2, axis=1)  # (32, 32, 3)
    return fit_latent_rgb(latents.reshape(-1, latents.shape[-1]), targets.reshape(-1, 3).astype(np.float32))
