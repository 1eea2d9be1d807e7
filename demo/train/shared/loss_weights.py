"""Loss weights for small changes in mostly unchanged images."""

from __future__ import annotations

from torch import Tensor

AT_LEAST = 0.1
MOST = 5.0
CHANGED_FROM = 0.15
"""Latents that are less apart, on average over a token, count as the same."""


def changed(apart: Tensor) -> Tensor:
    """(B, N, 1): 1 where a token differs, else 0."""
    return (apart.abs().mean(dim=2, keepdim=True) > CHANGED_FROM).float()


def emphasis(apart: Tensor) -> Tensor:
    """(B, N, 1): 1 for most tokens, more for small changes of an image.

    apart: (B, N, 64), the distance of each latent from its alternative. Changes count as at least a tenth of the image,
    with at most five per token.
    """
    differs = changed(apart)
    share = differs.mean(dim=1, keepdim=True).clamp(min=1e-3)
    return 1 + differs * ((AT_LEAST / share).clamp(1.0, MOST) - 1)
