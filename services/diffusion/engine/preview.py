"""Latents to a small JPEG by a linear map to RGB, without a decoder or torch.

Runs off the worker thread.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 256


def jpeg_of(latents: NDArray[np.float32], latent_rgb: NDArray[np.float32]) -> bytes:
    """The JPEG file of latents (h, w, C), at most 256 pixels per side.

    Takes the map (C + 1, 3) to RGB in [0, 1].
    """
    rgb = latents @ latent_rgb[:-1] + latent_rgb[-1]  # (h, w, 3)
    image = Image.fromarray((np.clip(rgb, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    scale = MAX_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def fit_latent_rgb(latents: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The least-squares map (C + 1, 3) from latents (n, C) to colours (n, 3).

    Colours are in [0, 1].
    """
    design = np.concatenate([latents, np.ones((len(latents), 1), np.float32)], axis=1)
    solution: NDArray[np.float32] = np.linalg.lstsq(design, pixels, rcond=1e-4)[0].astype(np.float32)
    return solution
