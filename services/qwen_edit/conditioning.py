"""The conditioning of a Qwen-Image-Edit job: Qwen2.5-VL features and latents.

Both are cached by content, so another seed costs no encoding. Sizes and numbers equal those of diffusers'
`QwenImageEditPlusPipeline`, except that the first image is encoded at its own size. Belongs to the worker thread.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from services.diffusion.networks import finite, vae_pixels
from services.diffusion.networks.conditioning_cache import ConditioningCache, content_key

MULTIPLE = 16
"""Pixels along a side of one token."""

REFERENCE_PIXELS = 1024 * 1024
"""Area at which reference pictures are encoded by the VAE."""

CONDITION_PIXELS = 384 * 384
"""Area at which Qwen2.5-VL looks at every picture."""

PATCH_PIXELS = 28 * 28
"""Pixels that become one token of Qwen2.5-VL."""

Shape = tuple[int, int, int]


class Conditioner:
    """Encodes for one pipeline.

    reference_pixels: area at which references are encoded. condition_pixels: area at which Qwen2.5-VL sees all images.
    """

    def __init__(
        self,
        pipeline: Any,
        device: torch.device,
        dtype: torch.dtype,
        *,
        reference_pixels: int,
        condition_pixels: int,
        cache: ConditioningCache,
    ) -> None:
        self._pipeline = pipeline
        self._device = device
        self._dtype = dtype
        self._reference_pixels = reference_pixels
        self._condition_pixels = condition_pixels
        self._cache = cache

    def shapes(self, images: Sequence[NDArray[np.uint8]]) -> list[Shape]:
        """(1, rows, columns) of the result and of each image, in tokens."""
        first = images[0].shape[:2]
        sizes = [first, first, *(self._reference_size(image) for image in images[1:])]
        return [(1, height // MULTIPLE, width // MULTIPLE) for height, width in sizes]

    def tokens(self, images: Sequence[NDArray[np.uint8]]) -> int:
        """The approximate tokens of a transformer pass over these images, without prompt."""
        seen = sum(math.prod(size_for(self._condition_pixels, image)) // PATCH_PIXELS for image in images)
        return sum(math.prod(shape) for shape in self.shapes(images)) + seen

    def prompt(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """Qwen2.5-VL's features of the prompt and the images: (1, L, D)."""
        key = f"{content_key(*images)} {prompt}"
        (features,) = self._cache.get("prompt", key, lambda: (self._look(prompt, images),))
        return features

    def pictures(self, images: Sequence[NDArray[np.uint8]]) -> list[torch.Tensor]:
        """(1, 16, h, w) of each image, normalised.

        The first at its own size, the others at their encoding size.
        """
        return [self._latents(index, image) for index, image in enumerate(images)]

    @torch.inference_mode()
    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The VAE's most likely latents of pixels (1, 3, h, w).

        (1, 16, h/8, w/8), normalised.
        """
        mean, deviation = self._latent_scale()
        clip = pixels.to(self._device, mean.dtype)[:, :, None]  # (1, 3, 1, h, w): a video of one frame
        latents: torch.Tensor = self._pipeline.vae.encode(clip).latent_dist.mode()[:, :, 0]
        return ((latents - mean) / deviation).to(self._dtype)

    @torch.inference_mode()
    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """The opposite of `encode`: (1, 16, h/8, w/8) → (1, 3, h, w), about [-1, 1].

        Raises `NumericFailure`.
        """
        vae = self._pipeline.vae

        def decode(latents: torch.Tensor) -> torch.Tensor:
            mean, deviation = self._latent_scale()
            latents = latents / (1.0 / deviation) + mean  # not `* deviation`: to the last bit as the pipeline rounds it
            pixels: torch.Tensor = vae.decode(latents[:, :, None]).sample  # (1, 3, 1, h, w)
            return pixels[:, :, 0]

        return finite.decoded(self._cache.service, vae, latents, decode)

    def forget(self) -> None:
        """Clear the caches to free their memory."""
        self._cache.clear()

    def _look(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """(1, L, D): Qwen2.5-VL's last hidden states, without the template's system part."""
        text = self._pipeline.prompt_template_encode.format(presented(prompt, len(images)))
        seen = [scaled(image, self._condition_pixels) for image in images]
        inputs = self._pipeline.processor(
            text=[text], images=seen, padding=True, return_mm_token_type_ids=True, return_tensors="pt"
        )
        output = self._pipeline.text_encoder(
            **inputs.to(self._device),  # all: without mm_token_type_ids an image's tokens get text positions in a row
            output_hidden_states=True,
            logits_to_keep=1,  # skip the unused (L, vocabulary) logits
            use_cache=False,
        )
        features: torch.Tensor = output.hidden_states[-1][:, self._pipeline.prompt_template_encode_start_idx :].to(
            self._dtype
        )
        return features

    def _latents(self, index: int, image: NDArray[np.uint8]) -> torch.Tensor:
        key = f"{'first' if index == 0 else 'reference'} {content_key(image)}"
        (latents,) = self._cache.get("image", key, lambda: (self.encode(self._vae_pixels(index, image)),))
        return latents

    def _vae_pixels(self, index: int, image: NDArray[np.uint8]) -> torch.Tensor:
        """(1, 3, h, w) in [-1, 1].

        The first image at its own size, a reference at its encoding size.
        """
        if index > 0:
            height, width = self._reference_size(image)
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
        return vae_pixels.to_tensor(image)

    def _reference_size(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        return size_for(self._reference_pixels, image)

    def _latent_scale(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the VAE's latents, (1, 16, 1, 1) each."""
        config = self._pipeline.vae.config
        mean, deviation = (
            torch.tensor(values, device=self._device, dtype=self._pipeline.vae.dtype)[None, :, None, None]
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, deviation


def presented(prompt: str, pictures: int) -> str:
    """The prompt after so many images, in Qwen2.5-VL's format."""
    places = (f"Picture {number}: <|vision_start|><|image_pad|><|vision_end|>" for number in range(1, pictures + 1))
    return "".join(places) + prompt


def size_for(area: int, image: NDArray[np.uint8]) -> tuple[int, int]:
    """(height, width) of about `area` pixels in the image's aspect, multiples of 32."""
    aspect = image.shape[1] / image.shape[0]
    width = math.sqrt(area * aspect)
    return max(32, round(width / aspect / 32) * 32), max(32, round(width / 32) * 32)


def scaled(image: NDArray[np.uint8], area: int) -> Image.Image:
    """The image scaled to about this area, for Qwen2.5-VL."""
    height, width = size_for(area, image)
    return Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
