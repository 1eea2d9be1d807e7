"""The masked region of an edit, in pixels and in latents.

Outside it the latents stay on the image, and the result's pixels are the image's.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imgedit.imaging.images import Pixels, blend
from services.diffusion.networks import flow

LATENT_PX = 8
"""A side of the square of pixels that becomes one latent."""


@dataclass(frozen=True, eq=False)
class Region:
    """The editable region of a job.

    picture: (H, W, 3) uint8. mask: (H, W) uint8, 255 = edit, 0 = keep, between = a blend. inside: (1, N, 64) bool, True
    for every latent with a pixel of mask alpha above 0. clean, noise: (1, N, 64), the image's latents and the job's
    initial noise.
    """

    picture: Pixels
    mask: Pixels
    inside: torch.Tensor
    clean: torch.Tensor
    noise: torch.Tensor

    @classmethod
    def of(cls, picture: Pixels, mask: Pixels, clean: torch.Tensor, noise: torch.Tensor) -> Region:
        """The region of a mask.

        clean, noise: latents before packing, (1, 16, H/8, W/8).
        """
        inside = flow.pack(latents_inside(mask).to(clean.device).expand_as(clean))
        return cls(picture, mask, inside, flow.pack(clean), flow.pack(noise))

    def hold(self, latents: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """The latents (1, N, 64) with everything outside replaced by the noised image.

        Each step thus sees the image around the region, and the painted region joins it.
        """
        return torch.where(self.inside, latents, flow.noised(self.clean, self.noise, sigma))

    def laid_over(self, painted: Pixels) -> Pixels:
        """Painted pixels (H, W, 3) where the mask is white, original ones where black."""
        return blend(painted, self.picture, self.mask[:, :, None])


def latents_inside(mask: Pixels) -> torch.Tensor:
    """(1, 1, H/8, W/8) bool: the latents with any pixel of mask alpha above 0.

    H and W are multiples of 8.
    """
    height, width = mask.shape
    squares = torch.from_numpy(mask > 0).view(height // LATENT_PX, LATENT_PX, width // LATENT_PX, LATENT_PX)
    return squares.any(dim=3).any(dim=1)[None, None]
