"""Flow matching of FLUX and Qwen-Image.

Sigmas, noising, Euler step, packed latents.

Pure functions; each job has its own noise levels.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from imgedit.errors import ModelLoadError
from services.diffusion.weights.checkpoint import read_json


def schedule_config(folder: Path) -> dict[str, Any]:
    """The settings in a checkpoint's `scheduler` folder.

    Only the deterministic Euler method is supported.
    """
    path = folder / "scheduler_config.json"
    config = read_json(path)
    if config.get("_class_name") != "FlowMatchEulerDiscreteScheduler" or config.get("stochastic_sampling"):
        raise ModelLoadError(f"{path}: FlowMatchEulerDiscreteScheduler without stochastic sampling is expected")
    return config


def skipped_steps(steps: int, strength: float) -> int:
    """The number of steps that a strength in [0, 1] skips: int(n - n × strength)."""
    return int(steps - min(steps * strength, steps))


def noise_levels(config: Mapping[str, Any], steps: int, image_tokens: int) -> torch.Tensor:
    """The sigmas of a run, (steps + 1,) float32 on the CPU, from 1 down to 0.

    Shifted for the image's token count. A run of one step goes straight from 1 to 0, where `shift_terminal`, which
    bends the last level, has no meaning.
    """
    settings = dict(config) if steps > 1 else {**config, "shift_terminal": None}
    scheduler = FlowMatchEulerDiscreteScheduler.from_config(settings)
    sigmas = np.linspace(1.0, 1 / steps, steps)
    scheduler.set_timesteps(sigmas=sigmas.tolist(), mu=shift_exponent(config, image_tokens))
    levels: torch.Tensor = scheduler.sigmas
    return levels.to("cpu")


def shift_exponent(config: Mapping[str, Any], image_tokens: int) -> float:
    """The time shift's mu: linear in the token count between two anchor points.

    Esser et al. 2024, section 5.3.2.
    """
    low, high = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    at_low, at_high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (at_high - at_low) / (high - low)
    return float(image_tokens * slope + (at_low - slope * low))


def noised(clean: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Latents at noise level sigma: sigma × noise + (1 - sigma) × clean.

    In the latents' number format.
    """
    level = sigma.to(clean)
    return level * noise + (1.0 - level) * clean


def euler_step(
    latents: torch.Tensor, velocity: torch.Tensor, sigma: torch.Tensor, following: torch.Tensor
) -> torch.Tensor:
    """One Euler step from noise level sigma to the next.

    Computed in float32, returned in the latents' format.
    """
    step = (following - sigma).to(latents.device)
    return (latents.float() + step * velocity).to(velocity.dtype)


def pack(latents: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) → (B, h/2 × w/2, 4C): each 2×2 patch of latents becomes one token."""
    batch, channels, height, width = latents.shape
    patches = latents.view(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpack(tokens: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """(B, h/2 × w/2, 4C) → (B, C, h, w) with h and w the latent height and width."""
    batch, _, channels = tokens.shape
    patches = tokens.view(batch, height // 2, width // 2, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(batch, channels // 4, height, width)
