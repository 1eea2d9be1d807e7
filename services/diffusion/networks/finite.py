"""NaN and infinity end their job instead of becoming a black image.

Half precision overflows, and some attention backends make NaN of a mask. Every such result is counted.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal

import torch

from imgedit.errors import NumericFailure
from services.diffusion.engine import metrics

Part = Literal["prompt", "image", "denoise", "decode", "rewrite"]
"""Where the numbers arose: the text encoders, the VAE's encoder, the transformer, the VAE's decoder, a rewriting."""

log = logging.getLogger(__name__)


def check(service: str, part: Part, *tensors: torch.Tensor) -> None:
    """Raise `NumericFailure` unless every number is finite.

    service: its settings are named in the advice.
    """
    if not _are_finite(tensors):
        metrics.NOT_FINITE.labels(service, part).inc()
        prefix = f"IMGEDIT_{service.upper()}"
        raise NumericFailure(
            f"The model's numbers are not finite ({part}). Set {prefix}_DTYPE to bfloat16 or float32, or "
            f"{prefix}_ATTENTION to another backend; if that changes nothing, the weights are damaged."
        )


def decoded(
    service: str, vae: Any, latents: torch.Tensor, decode: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Decode the latents, again in float32 if the result is not finite.

    The VAE then returns to its own number format. Raises `NumericFailure` if the float32 result is not finite either.
    """
    pixels = decode(latents.to(vae.dtype))
    dtype: torch.dtype = vae.dtype
    if dtype != torch.float32 and not _are_finite((pixels,)):
        log.warning("%s: the decoded picture is not finite in %s; again in float32", service, dtype)
        metrics.NOT_FINITE.labels(service, "decode").inc()
        vae.to(torch.float32)
        try:
            pixels = decode(latents.to(torch.float32))
        finally:
            vae.to(dtype)
    check(service, "decode", pixels)
    return pixels


def _are_finite(tensors: tuple[torch.Tensor, ...]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
