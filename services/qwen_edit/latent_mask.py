"""The masked region of an edit: outside it the latents stay on the picture, and the answer's pixels are the picture's.

Knows the masks' two sizes, pixels and latents; knows neither prompt nor transformer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imgedit.imaging.images import blend
from imgedit.imaging.pixels import Pixels
from services.diffusion.networks import flow

LATENT_PX = 8
"""A side of the square of pixels that becomes one latent."""


@dataclass(frozen=True, eq=False)
class LatentMask:
    """Where a job may edit.

    picture: (H, W, 3) uint8. mask: (H, W) uint8, 255 = edit, 0 = keep, between = a blend of both. inside: (1, N, 64)
    bool, True for every latent with a pixel of weight above 0. clean, noise: (1, N, 64), the picture's latents and the
    noise that the job began with.
    """

    picture: Pixels
    mask: Pixels
    inside: torch.Tensor
    clean: torch.Tensor
    noise: torch.Tensor

    @classmethod
    def from_mask(cls, picture: Pixels, mask: Pixels, clean: torch.Tensor, noise: torch.Tensor) -> LatentMask:
        """The region of a mask. clean, noise: latents before packing, (1, 16, H/8, W/8)."""
        inside = flow.pack(latents_inside(mask).to(clean.device).expand_as(clean))
        return cls(picture, mask, inside, flow.pack(clean), flow.pack(noise))

    def hold(self, latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The latents (1, N, 64) with everything outside put back onto the picture, noised to this level.

        So each step sees the picture itself around the region, and what it paints joins on to it.
        """
        return torch.where(self.inside, latents, flow.noised(self.clean, self.noise, sigma))

    def laid_over(self, painted: Pixels) -> Pixels:
        """The painted pixels (H, W, 3) where the mask is white, exactly the picture's where it is black."""
        return blend(painted, self.picture, self.mask[:, :, None])


def latents_inside(mask: Pixels) -> torch.Tensor:
    """(1, 1, H/8, W/8) bool: the latents with any pixel of weight above 0. H and W are multiples of 8."""
    height, width = mask.shape
    squares = torch.from_numpy(mask > 0).view(height // LATENT_PX, LATENT_PX, width // LATENT_PX, LATENT_PX)
    return squares.any(dim=3).any(dim=1)[None, None]
