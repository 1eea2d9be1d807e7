"""FLUX.1-Fill: load the model, and run its jobs step by step for the engine.

A job's numbers equal those of diffusers' `FluxFillPipeline.__call__` for the same seed, with two differences. Every
mask alpha above 0 is repainted (the pipeline cuts at one half). An explicit negative prompt adds classifier-free
guidance, a second pass per step.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from numpy.typing import NDArray
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from imgedit.errors import InvalidArgument, ModelLoadError
from imgedit.remarks import Remarks
from services.diffusion.engine.adapter import Workload
from services.diffusion.engine.region_steps import RegionSchedule, RegionSteps
from services.diffusion.networks import device as devices
from services.diffusion.networks import finite, flow, loading, vae_pixels
from services.diffusion.networks.conditioning_cache import ConditioningCache, content_key
from services.diffusion.networks.flow_adapter import (
    FlowAdapter,
    FlowState,
    WarmJob,
    computed,
    lora_parts,
    step_context,
    unpacked,
)
from services.diffusion.networks.guidance import CfgBatch
from services.diffusion.networks.loading import Recipe, Source
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.network import Network
from services.diffusion.networks.runtime_options import DEFAULT_RUNTIME, RuntimeOptions
from services.diffusion.networks.token_region import TokenRegion, keyed_forward, tokens_of
from services.diffusion.weights import checkpoint
from services.diffusion.weights.gguf_weights import Weights
from services.diffusion.weights.reading import Held
from services.diffusion.weights.stored_weights import Ignored
from services.fill import gguf_names, vae_names
from services.fill.attention import keep_keys
from services.fill.memory_needs import ACTIVATIONS, TEXT_TOKENS
from services.fill.prompt_length import TokenCounter
from services.fill.spec import FillSpec

SERVICE = "fill"
NAME = "FLUX.1-Fill-dev"
PIPELINE = "FluxFillPipeline"
PARTS = ("scheduler", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "transformer", "vae")
NETWORKS = ("text_encoder", "text_encoder_2", "vae", "transformer")
MULTIPLE = 16
NARROW = {"x_embedder": 64}
"""LoRAs for FLUX.1-dev know the latents only, which are the first 64 of Fill's 384 input channels."""

OF_WHOLE_CLIP = "the file is of a whole CLIP, of which FLUX uses the text model alone"
CLIP_IGNORED = {
    "embeddings.position_ids": "a table 0, 1, 2 … that old files hold and the network makes itself",
    "text_projection.": OF_WHOLE_CLIP,
    "logit_scale": OF_WHOLE_CLIP,
    "vision_model.": OF_WHOLE_CLIP,
    "visual_projection.": OF_WHOLE_CLIP,
}
T5_IGNORED = {
    "decoder.": "the file is of a whole T5, of which FLUX uses the encoder alone",
    "lm_head.": "the file is of a whole T5, of which FLUX uses the encoder alone",
}
"""Entries, by the beginning of their names, that the files of text encoders may have beyond the network's."""

CACHE_BYTES = 256 * 1024 * 1024

REGION_SCHEDULE = RegionSchedule(spacing=1.0, rim=1)
"""The manual has the curve that it was chosen from."""


@dataclass
class Conditioning:
    """An encoded prompt.

    T5's tokens (1, T, D), T = 512, and CLIP's pooled vector (1, P).
    """

    tokens: torch.Tensor
    pooled: torch.Tensor


@dataclass(eq=False)
class FillState(FlowState[Conditioning]):
    """A job between steps.

    fixed: (1, N, 320), masked image and mask.
    """

    fixed: torch.Tensor
    guidance_scale: float


class FillAdapter(FlowAdapter[FillState, Conditioning]):
    """FLUX.1-Fill's jobs for the engine."""

    def __init__(
        self,
        pipeline: FluxFillPipeline,
        schedule: dict[str, Any],
        network: Network,
        *,
        target: torch.device,
        revision: str,
        cache_bytes: int = 0,
        cfg_batch: CfgBatch = "auto",
        region_bytes: int = 0,
    ) -> None:
        super().__init__(
            NAME,
            pipeline,
            schedule,
            network,
            target=target,
            revision=revision,
            cfg_batch=cfg_batch,
            region_schedule=REGION_SCHEDULE,
            region_bytes=region_bytes,
        )
        self._cache = ConditioningCache(SERVICE, cache_bytes)
        self._text_tokens = min(TEXT_TOKENS, pipeline.tokenizer_2.model_max_length)
        self._tokens = TokenCounter(pipeline.tokenizer, pipeline.tokenizer_2, self._text_tokens)

    def workload(self, spec: FillSpec) -> Workload:
        """Check the spec and estimate its work.

        Raises `InvalidArgument` that names the field.
        """
        vae_pixels.check_sides("image", spec.image, MULTIPLE)
        if spec.mask.shape != spec.image.shape[:2]:
            raise InvalidArgument.field("mask", f"must be as large as the image, {spec.image.shape[:2]}")
        if not spec.mask.any():
            raise InvalidArgument.field("mask", "marks nothing to repaint")
        vae_pixels.check_steps(spec.steps, spec.strength)
        self._network.check(spec.lora, step_cache=spec.step_cache, region_steps=spec.region_steps)
        height, width, _ = spec.image.shape
        passes = 1 if active_negative(spec) is None else 2
        region = self._region_of(spec)
        region = region if self._fits(region) else None
        key = (height, width, passes, spec.lora, spec.loras, None if region is None else region.tokens)
        return Workload(
            steps=spec.steps - flow.skipped_steps(spec.steps, spec.strength),
            tokens=height * width // MULTIPLE**2 + self._text_tokens,
            passes=passes,
            nbytes=spec.image.nbytes + spec.mask.nbytes,
            batch_key=None if spec.step_cache else key,
            region=region,
            parts=lora_parts(spec.loras),
        )

    def warnings(self, spec: FillSpec) -> Remarks:
        """Warn of unread prompt text, unused LoRA settings and a too large region.

        May be called from any thread.
        """
        return (
            *self._tokens.warnings(spec),
            *self._network.loras.warnings(spec.lora, spec.loras),
            *self._region_warnings(self._region_of(spec)),
        )

    def _region_of(self, spec: FillSpec) -> RegionSteps | None:
        """The region steps that the spec asks for, however much they keep."""
        if not spec.region_steps:
            return None
        height, width, _ = spec.image.shape
        pictures = height * width // MULTIPLE**2
        sigmas, start = self._levels_of(spec.lora, spec.steps, spec.strength, pictures)
        return self._region_steps(
            sigmas[start:],
            computed=len(tokens_of(spec.mask, self._region_schedule.rim)),
            pictures=pictures,
            text=self._text_tokens,
            passes=1 if active_negative(spec) is None else 2,
        )

    def unchanged(self, spec: FillSpec) -> NDArray[np.uint8]:
        """The input's pixels, for a job with no steps to run."""
        return spec.image.copy()

    @torch.inference_mode()
    def prepare(self, spec: FillSpec) -> FillState:
        """Load the request's LoRAs, encode prompt and images, draw the noise."""
        self._network.loras.load(spec.loras)
        height, width, _ = spec.image.shape
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        workload = self.workload(spec)
        sigmas, start = self._levels_of(spec.lora, spec.steps, spec.strength, height * width // MULTIPLE**2)
        positive = self._conditioning(spec.prompt)
        uncond = active_negative(spec)
        negative = None if uncond is None else self._conditioning(uncond)
        pixels = vae_pixels.to_tensor(spec.image)  # (1, 3, H, W) in [-1, 1]
        mask = torch.from_numpy((spec.mask > 0).astype(np.float32))[None, None]  # (1, 1, H, W), 1 = repaint
        # The draws follow the pipeline's order: the image's posterior, the noise, the masked image's posterior.
        clean = self._sample(pixels, content_key(spec.image), generator)
        noise = vae_pixels.randn(tuple(clean.shape), generator, self._device, self._dtype)
        latents = flow.pack(flow.noised(clean, noise, sigmas[start]))
        masked = flow.pack(self._sample(pixels * (1 - mask), content_key(spec.image, spec.mask > 0), generator))
        state = FillState(
            height=height,
            width=width,
            latents=latents,
            fixed=torch.cat([masked, pack_mask(mask).to(masked)], dim=2),
            sigmas=sigmas,
            step=start,
            positive=positive,
            negative=negative,
            cfg_scale=spec.negative_scale,
            guidance_scale=spec.guidance_scale,
            joined=self._joins(workload, step_cache=spec.step_cache),
            lora=spec.lora,
            loras=spec.loras,
            context=self._network.new_context() if spec.step_cache else None,
            tokens=self._token_region(spec, workload),
        )
        devices.finish(self._device)
        self._network.loras.pin(state, spec.loras)
        return state

    def _token_region(self, spec: FillSpec, workload: Workload) -> TokenRegion | None:
        if workload.region is None:
            return None
        region = torch.from_numpy(tokens_of(spec.mask, self._region_schedule.rim)).to(self._device)
        height, width, _ = spec.image.shape
        return TokenRegion.from_steps(workload.region, region, height * width // MULTIPLE**2, passes=workload.passes)

    @torch.inference_mode()
    def decode(self, state: FillState) -> NDArray[np.uint8]:
        """The finished image, (H, W, 3) uint8."""
        return vae_pixels.to_uint8(self.decode_float(state))

    @torch.inference_mode()
    def decode_float(self, state: FillState) -> torch.Tensor:
        """The finished image before rounding: (1, 3, H, W), about [-1, 1].

        Raises `NumericFailure`.
        """
        vae = self._pipeline.vae

        def decode(latents: torch.Tensor) -> torch.Tensor:
            pixels: torch.Tensor = vae.decode(latents / vae.config.scaling_factor + vae.config.shift_factor).sample
            return pixels

        return finite.decoded(SERVICE, vae, unpacked(state), decode)

    def warm_up(self) -> None:
        """Run one tiny job from start to end, so that the first request is not slower."""
        state = self._warm_state(WarmJob(64, 64))
        self.denoise([state])
        self.decode(state)
        self.latent_rgb()

    def _warm_state(self, job: WarmJob) -> FillState:
        mask = np.full((job.height, job.width), 255, np.uint8)
        mask[job.height // 2 :] = 0 if job.region_steps else 255
        spec = FillSpec(
            image=np.full((job.height, job.width, 3), 128, np.uint8),
            mask=mask,
            prompt=job.prompt,
            negative_prompt="blurry" if job.is_guided else None,
            negative_scale=2.0 if job.is_guided else 1.0,
            steps=job.steps,
            guidance_scale=3.5,
            strength=1.0,
            seed=0,
            lora=job.lora,
            region_steps=job.region_steps,
        )
        return self.prepare(spec)

    def _velocity(self, states: Sequence[FillState], prompts: Sequence[Conditioning], sign: str) -> torch.Tensor:
        guidance = torch.tensor([state.guidance_scale for state in states], dtype=torch.float32, device=self._device)
        first = states[0]
        inputs = torch.cat([torch.cat([state.latents, state.fixed], dim=2) for state in states])  # (B, N, 384)
        return self._network.forward(
            lora=first.lora,
            loras=first.loras,
            context=step_context(first, sign),
            keys=keyed_forward([state.tokens for state in states], sign),
            hidden_states=computed(states, inputs),
            timestep=self._levels(states),
            guidance=guidance if self._pipeline.transformer.config.guidance_embeds else None,
            pooled_projections=torch.cat([prompt.pooled for prompt in prompts]),
            encoder_hidden_states=torch.cat([prompt.tokens for prompt in prompts]),
            txt_ids=torch.zeros(first.positive.tokens.shape[1], 3, device=self._device),
            img_ids=position_ids(first.height, first.width).to(self._device),
        )

    def _conditioning(self, prompt: str) -> Conditioning:
        def encode() -> tuple[torch.Tensor, ...]:
            tokens, pooled, _ = self._pipeline.encode_prompt(
                prompt=prompt, prompt_2=None, device=self._device, max_sequence_length=self._text_tokens
            )
            return tokens, pooled

        return Conditioning(*self._cache.get("prompt", prompt, encode))

    def _sample(self, pixels: torch.Tensor, key: str, generator: torch.Generator) -> torch.Tensor:
        """Sample the VAE's posterior of pixels (1, 3, H, W): (1, 16, H/8, W/8).

        Scaled for the transformer. key: the content of the pixels; the posterior is cached, the sample is drawn each
        time.
        """
        (moments,) = self._cache.get("image", key, lambda: (self._moments(pixels),))
        return self._scaled(DiagonalGaussianDistribution(moments).sample(generator))

    @torch.inference_mode()
    def _encode_mode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._scaled(DiagonalGaussianDistribution(self._moments(pixels)).mode())

    def _forget(self) -> None:
        self._cache.clear()

    def _moments(self, pixels: torch.Tensor) -> torch.Tensor:
        """Mean and log variance of the posterior, (1, 32, H/8, W/8)."""
        vae = self._pipeline.vae
        moments: torch.Tensor = vae.encode(pixels.to(self._device, vae.dtype)).latent_dist.parameters
        return moments

    def _scaled(self, latents: torch.Tensor) -> torch.Tensor:
        config = self._pipeline.vae.config
        scaled: torch.Tensor = (latents - config.shift_factor) * config.scaling_factor
        return scaled.to(self._dtype)


def active_negative(spec: FillSpec) -> str | None:
    """The job's negative prompt.

    At a guidance of 1 or less it has no effect and costs no pass.
    """
    return spec.negative_prompt if spec.negative_scale > 1 else None


def pack_mask(mask: torch.Tensor) -> torch.Tensor:
    """(1, 1, H, W) → (1, H/16 × W/16, 256).

    The 8×8 mask pixels of each latent become channels, then 2×2 patches.
    """
    _, _, height, width = mask.shape
    blocks = mask.view(1, height // 8, 8, width // 8, 8).permute(0, 2, 4, 1, 3)
    return flow.pack(blocks.reshape(1, 64, height // 8, width // 8))


def position_ids(height: int, width: int) -> torch.Tensor:
    """(H/16 × W/16, 3) float32.

    0, row and column of each token, for the rotary embedding.

    In bfloat16, which diffusers uses, positions beyond the 256th would collide.
    """
    rows, columns = torch.meshgrid(torch.arange(height // 16), torch.arange(width // 16), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).reshape(-1, 3).float()


def load_fill(
    folder: Path,
    *,
    gguf: Path | None = None,
    gguf_sha256: str | None = None,
    weights: Weights = "auto",
    text_encoder_weights: Held = "dense",
    device: str = "auto",
    dtype: str = "auto",
    cache_bytes: int = CACHE_BYTES,
    loras: Mapping[str, LoraFile] = MappingProxyType({}),
    runtime: RuntimeOptions = DEFAULT_RUNTIME,
) -> FillAdapter:
    """Load FLUX.1-Fill from a local folder, without downloads or foreign code.

    gguf, gguf_sha256, weights: see `loading.Source`. device, dtype, loras, runtime, errors: see
    `loading.load_pipeline`.
    text_encoder_weights: of T5, see `reading.Held`; CLIP is small and stays dense. cache_bytes: device
    memory for remembered prompts and pictures, 0 = none.
    """

    def assemble(
        number: torch.dtype, vae_number: torch.dtype, device_of: Callable[[str], torch.device]
    ) -> FluxFillPipeline:
        def network(name: str, cls: Any, dtype: torch.dtype, ignored: Ignored, **options: Any) -> Any:
            return checkpoint.load_network(cls, folder / name, dtype, ignored, device=device_of(name), **options)

        return FluxFillPipeline(
            scheduler=None,
            vae=network("vae", AutoencoderKL, vae_number, {}, layout=vae_names.LAYOUT),
            text_encoder=network("text_encoder", CLIPTextModel, number, CLIP_IGNORED),
            tokenizer=checkpoint.load_part(CLIPTokenizer, folder / "tokenizer"),
            text_encoder_2=network("text_encoder_2", T5EncoderModel, number, T5_IGNORED, held=text_encoder_weights),
            tokenizer_2=checkpoint.load_part(T5Tokenizer, folder / "tokenizer_2"),
            transformer=None,
        )

    loaded = loading.load_pipeline(
        RECIPE,
        Source(folder, gguf, gguf_sha256, weights),
        assemble,
        device=device,
        dtype=dtype,
        pictures=runtime.max_pixels,
        loras=loras,
        runtime=runtime,
    )
    return FillAdapter(
        loaded.pipeline,
        loaded.schedule,
        loaded.network,
        cfg_batch=runtime.cfg_batch,
        target=loaded.target,
        cache_bytes=cache_bytes,
        region_bytes=runtime.region_bytes,
        revision=loaded.revision,
    )


def _check_channels(transformer: Any, folder: Path) -> None:
    if transformer.config.in_channels != 384:
        raise ModelLoadError(f"{folder}: {transformer.config.in_channels} input channels; FLUX.1-Fill has 384")


RECIPE = Recipe(
    service=SERVICE,
    pipeline=PIPELINE,
    parts=PARTS,
    networks=NETWORKS,
    layout=gguf_names.LAYOUT,
    activations=ACTIVATIONS,
    keep_keys=keep_keys,
    narrow=NARROW,
    prepare=_check_channels,
)
