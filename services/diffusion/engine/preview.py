"""Latents to a small JPEG: a linear map to RGB, no decoder. Runs off the worker thread; needs no torch."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_SIDE = 256


def jpeg_of(latents: NDArray[np.float32], latent_rgb: NDArray[np.float32]) -> bytes:
    """The JPEG file of latents (h, w, C) under the map (C + 1, 3) to RGB in [0, 1]; at most 256 pixels a side."""
    rgb = latents @ latent_rgb[:-1] + latent_rgb[-1]  # (h, w, 3)
    image = Image.fromarray((np.clip(rgb, 0.0, 1.0) * 255.0).round().astype(np.uint8))
    scale = MAX_SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def fit_latent_rgb(latents: NDArray[np.float32], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """The (C + 1, 3) map that best turns latents (n, C) into colours (n, 3) in [0, 1], by least squares."""
    design = np.concatenate([latents, np.ones((len(latents), 1), np.float32)], axis=1)
    solution: NDArray[np.float32] = np.linalg.lstsq(design, pixels, rcond=1e-4)[0].astype(np.float32)
    return solution
