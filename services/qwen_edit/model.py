"""Qwen-Image-Edit-2509 and -2511: load the model, and run its jobs for the engine.

A job's numbers equal those of diffusers' `QwenImageEditPlusPipeline.__call__` for the same seed, with four differences.
The first image is encoded at its own size, so nothing shifts or zooms. The result follows the first image, not the
last. `strength` below 1 starts from the first image's latents instead of pure noise. A mask keeps everything outside it
on the first image.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from numpy.typing import NDArray
from transformers import Qwen2Tokenizer

from imgedit.errors import InvalidArgument
from imgedit.remarks import Remarks
from services.diffusion.engine.adapter import Workload
from services.diffusion.engine.region_steps import RegionSchedule, RegionSteps
from services.diffusion.networks import device as devices
from services.diffusion.networks import flow, loading, vae_pixels
from services.diffusion.networks.conditioning_cache import ConditioningCache
from services.diffusion.networks.flow_adapter import (
    FlowAdapter,
    FlowState,
    WarmJob,
    computed,
    lora_parts,
    step_context,
    unpacked,
)
from services.diffusion.networks.guidance import CfgBatch, extrapolated
from services.diffusion.networks.kept_keys import KeyedForward
from services.diffusion.networks.loading import Recipe, Source
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.network import Network
from services.diffusion.networks.runtime_options import DEFAULT_RUNTIME, RuntimeOptions, takes_masks
from services.diffusion.networks.token_region import TokenRegion, keyed_forward, tokens_of
from services.diffusion.weights import checkpoint
from services.diffusion.weights.gguf_weights import Weights
from services.diffusion.weights.reading import Held
from services.qwen_edit import gguf_names, vae
from services.qwen_edit.attention import keep_keys
from services.qwen_edit.conditioning import CONDITION_PIXELS, MULTIPLE, REFERENCE_PIXELS, Conditioner, scaled
from services.qwen_edit.latent_mask import LatentMask
from services.qwen_edit.memory_needs import ACTIVATIONS, MAX_IMAGES
from services.qwen_edit.processor import load_processor
from services.qwen_edit.prompt_length import TokenCounter
from services.qwen_edit.prompt_rewriter import PromptRewriter
from services.qwen_edit.rewrite_instructions import RewriteSpec
from services.qwen_edit.spec import QwenEditSpec
from services.qwen_edit.text_encoder import load_text_encoder

SERVICE = "qwen_edit"
PIPELINE = "QwenImageEditPlusPipeline"
PARTS = ("processor", "scheduler", "text_encoder", "tokenizer", "transformer", "vae")
NETWORKS = ("text_encoder", "vae", "transformer")

CACHE_BYTES = 256 * 1024 * 1024

REGION_SCHEDULE = RegionSchedule(spacing=1.0, rim=1)
"""The manual has the curve that it was chosen from."""

NEWER = "zero_cond_t"
"""True in the transformer's configuration of Qwen-Image-Edit-2511: input pictures count as noiseless at every step."""

PLACES = 12
"""Pictures whose rotary angles are remembered: those of the jobs of a batch."""

GLANCE_PIXELS = 224 * 224
"""Area at which Qwen2.5-VL looks at a picture when it writes a prompt out: it holds up the edits meanwhile."""


@dataclass(eq=False)
class QwenEditState(FlowState[torch.Tensor]):
    """A job between steps; its prompts are features (1, L, D).

    pictures: (1, M, 64), the encoded inputs, one after another. shapes: (1, rows, columns) of the result and of each
    input, in tokens. region: the editable region, None = everywhere.
    """

    pictures: torch.Tensor
    shapes: list[tuple[int, int, int]]
    region: LatentMask | None


class QwenEditAdapter(FlowAdapter[QwenEditState, torch.Tensor]):
    """Qwen-Image-Edit's jobs for the engine.

    masks_prompts: whether the transformer's attention accepts a mask over the padding of a batch's shorter prompts.
    """

    def __init__(
        self,
        pipeline: QwenImageEditPlusPipeline,
        schedule: dict[str, Any],
        network: Network,
        conditioner: Conditioner,
        reading: TokenCounter,
        *,
        target: torch.device,
        revision: str,
        cfg_batch: CfgBatch = "auto",
        masks_prompts: bool = True,
        region_bytes: int = 0,
    ) -> None:
        super().__init__(
            name_of(pipeline.transformer.config),
            pipeline,
            schedule,
            network,
            target=target,
            revision=revision,
            cfg_batch=cfg_batch,
            region_schedule=REGION_SCHEDULE,
            region_bytes=region_bytes,
        )
        self._conditioner = conditioner
        self._tokens = reading
        self._masks_prompts = masks_prompts
        self._writer = PromptRewriter(pipeline.text_encoder, pipeline.processor, target, service=SERVICE)

    def workload(self, spec: QwenEditSpec) -> Workload:
        """Check the spec and estimate its work.

        Raises `InvalidArgument` that names the field.
        """
        if not 1 <= len(spec.images) <= MAX_IMAGES:
            raise InvalidArgument.field("images", f"1 to {MAX_IMAGES} are expected, not {len(spec.images)}")
        vae_pixels.check_sides("images[0]", spec.images[0], MULTIPLE)
        for index, image in enumerate(spec.images[1:], start=1):
            vae_pixels.check_sides(f"images[{index}]", image, 1)
        check_mask(spec)
        vae_pixels.check_steps(spec.steps, spec.strength)
        self._network.check(spec.lora, step_cache=spec.step_cache, region_steps=spec.region_steps)
        prompts = {"prompt": spec.prompt}
        if (uncond := active_negative(spec)) is not None:
            prompts["negative_prompt"] = uncond
        shapes = self._conditioner.shapes(spec.images)
        for field, text in prompts.items():
            self._tokens.check(field, text, spec.images, shapes)
        passes = len(prompts)
        tokens = self._sequence_length(spec)
        region = self._region_of(spec)
        region = region if self._fits(region) else None
        key = (*shapes, tokens, passes, spec.lora, spec.loras, None if region is None else region.tokens)
        return Workload(
            steps=spec.steps - flow.skipped_steps(spec.steps, spec.strength),
            tokens=tokens,
            passes=passes,
            nbytes=sum(image.nbytes for image in spec.images) + (0 if spec.mask is None else spec.mask.nbytes),
            batch_key=None if spec.step_cache else key,
            region=region,
            parts=lora_parts(spec.loras),
        )

    def warnings(self, spec: QwenEditSpec) -> Remarks:
        """Warn of unused LoRA settings and a too large region.

        May be called from any thread.
        """
        return (*self._network.loras.warnings(spec.lora, spec.loras), *self._region_warnings(self._region_of(spec)))

    def _sequence_length(self, spec: QwenEditSpec) -> int:
        """About how many tokens one pass has."""
        prompts = [spec.prompt] if (uncond := active_negative(spec)) is None else [spec.prompt, uncond]
        return self._conditioner.tokens(spec.images) + self._tokens.work(prompts, spec.images)

    def _region_of(self, spec: QwenEditSpec) -> RegionSteps | None:
        """The region steps that the spec asks for, however much they keep."""
        if not spec.region_steps:
            return None
        answer, *inputs = (math.prod(shape) for shape in self._conditioner.shapes(spec.images))
        pictures = answer + sum(inputs)
        sigmas, start = self._levels_of(spec.lora, spec.steps, spec.strength, answer)
        return self._region_steps(
            sigmas[start:],
            computed=len(region_tokens(spec, self._region_schedule.rim)),
            pictures=pictures,
            text=self._sequence_length(spec) - pictures,
            passes=1 if active_negative(spec) is None else 2,
        )

    def unchanged(self, spec: QwenEditSpec) -> NDArray[np.uint8]:
        """The input's pixels, for a job with no steps to run."""
        return spec.images[0].copy()

    @torch.inference_mode()
    def prepare(self, spec: QwenEditSpec) -> QwenEditState:
        """Load the request's LoRAs, encode prompt and images, draw the noise."""
        self._network.loras.load(spec.loras)
        height, width, _ = spec.images[0].shape
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        workload = self.workload(spec)
        sigmas, start = self._levels_of(spec.lora, spec.steps, spec.strength, height * width // MULTIPLE**2)
        positive = self._conditioner.prompt(spec.prompt, spec.images)
        uncond = active_negative(spec)
        negative = None if uncond is None else self._conditioner.prompt(uncond, spec.images)
        encoded = self._conditioner.pictures(spec.images)
        noise = vae_pixels.randn(tuple(encoded[0].shape), generator, self._device, self._dtype)
        latents = noise if start == 0 else flow.noised(encoded[0], noise, sigmas[start])
        state = QwenEditState(
            height=height,
            width=width,
            latents=flow.pack(latents),
            pictures=torch.cat([flow.pack(latents) for latents in encoded], dim=1),
            shapes=self._conditioner.shapes(spec.images),
            sigmas=sigmas,
            step=start,
            positive=positive,
            negative=negative,
            cfg_scale=spec.true_cfg_scale,
            region=None if spec.mask is None else LatentMask.from_mask(spec.images[0], spec.mask, encoded[0], noise),
            joined=self._joins(workload, step_cache=spec.step_cache),
            lora=spec.lora,
            loras=spec.loras,
            context=self._network.new_context() if spec.step_cache else None,
            tokens=self._token_region(spec, workload),
        )
        devices.finish(self._device)
        self._network.loras.pin(state, spec.loras)
        return state

    def _token_region(self, spec: QwenEditSpec, workload: Workload) -> TokenRegion | None:
        if workload.region is None:
            return None
        tokens = sum(math.prod(shape) for shape in self._conditioner.shapes(spec.images))
        region = torch.from_numpy(region_tokens(spec, self._region_schedule.rim)).to(self._device)
        return TokenRegion.from_steps(workload.region, region, tokens, passes=workload.passes)

    def decode(self, state: QwenEditState) -> NDArray[np.uint8]:
        """The finished image, (H, W, 3) uint8, with original pixels outside the mask."""
        painted = vae_pixels.to_uint8(self.decode_float(state))
        return painted if state.region is None else state.region.laid_over(painted)

    @torch.inference_mode()
    def decode_float(self, state: QwenEditState) -> torch.Tensor:
        """The decoded latents before rounding and without the mask.

        (1, 3, H, W), about [-1, 1].
        """
        return self._conditioner.decode(unpacked(state))

    def rewrite(self, spec: RewriteSpec, should_stop: Callable[[], bool]) -> str:
        """Qwen2.5-VL's output; see `services.qwen_edit.prompt_rewriter.PromptRewriter`."""
        return self._writer.write(spec, [scaled(image, GLANCE_PIXELS) for image in spec.images], should_stop)

    def warm_up(self) -> None:
        """Run one tiny job from start to end, so that the first request is not slower."""
        state = self._warm_state(WarmJob(64, 64, is_guided=True))
        self.denoise([state])
        self.decode(state)
        self.latent_rgb()

    def _warm_state(self, job: WarmJob) -> QwenEditState:
        spec = QwenEditSpec(
            images=(np.full((job.height, job.width, 3), 128, np.uint8),),
            prompt=job.prompt,
            negative_prompt=" " if job.is_guided else None,
            true_cfg_scale=2.0 if job.is_guided else 1.0,
            steps=job.steps,
            strength=1.0,
            seed=0,
            lora=job.lora,
            region_steps=job.region_steps,
        )
        return self.prepare(spec)

    def _guided(self, cond: torch.Tensor, uncond: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return guided(cond, uncond, scale)

    def _advanced(self, state: QwenEditState, velocity: torch.Tensor) -> torch.Tensor:
        latents = super()._advanced(state, velocity)
        return latents if state.region is None else state.region.hold(latents, state.sigmas[state.step + 1])

    def _encode_mode(self, pixels: torch.Tensor) -> torch.Tensor:
        return self._conditioner.encode(pixels)

    def _forget(self) -> None:
        self._conditioner.forget()
        self._pipeline.transformer.pos_embed._compute_video_freqs.cache_clear()

    def _velocity(self, states: Sequence[QwenEditState], prompts: Sequence[torch.Tensor], sign: str) -> torch.Tensor:
        """See above.

        Where attention takes no mask, only prompts of one length share a forward.
        """
        if self._masks_prompts:
            return self._forward(states, prompts, sign, keyed_forward([state.tokens for state in states], sign))
        rows: dict[int, torch.Tensor] = {}
        for length in {prompt.shape[1] for prompt in prompts}:
            members = [index for index, prompt in enumerate(prompts) if prompt.shape[1] == length]
            output = self._forward([states[i] for i in members], [prompts[i] for i in members], sign)
            rows |= {index: output[row : row + 1] for row, index in enumerate(members)}
        return torch.cat([rows[index] for index in range(len(prompts))])

    def _forward(
        self,
        states: Sequence[QwenEditState],
        prompts: Sequence[torch.Tensor],
        sign: str,
        keys: KeyedForward | None = None,
    ) -> torch.Tensor:
        """One forward, with a mask where the prompts differ in length."""
        first = states[0]
        latents = computed(states, torch.cat([state.latents for state in states]))
        is_whole = keys is None or keys.full
        features, mask = padded(prompts)
        output = self._network.forward(
            lora=first.lora,
            loras=first.loras,
            context=step_context(first, sign),
            keys=keys,
            hidden_states=torch.cat([latents, torch.cat([state.pictures for state in states])], dim=1)
            if is_whole
            else latents,
            timestep=self._levels(states),
            encoder_hidden_states=features,
            encoder_hidden_states_mask=mask,
            img_shapes=[state.shapes for state in states],
        )
        return output[:, : latents.shape[1]]


def load_qwen_edit(
    folder: Path,
    *,
    gguf: Path | None = None,
    gguf_sha256: str | None = None,
    weights: Weights = "auto",
    text_encoder_weights: Held = "dense",
    text_encoder_attention: str = "",
    device: str = "auto",
    dtype: str = "auto",
    reference_pixels: int = REFERENCE_PIXELS,
    condition_pixels: int = CONDITION_PIXELS,
    cache_bytes: int = CACHE_BYTES,
    loras: Mapping[str, LoraFile] = MappingProxyType({}),
    runtime: RuntimeOptions = DEFAULT_RUNTIME,
) -> QwenEditAdapter:
    """Load Qwen-Image-Edit from a local folder, without downloads or foreign code.

    gguf, gguf_sha256, weights: see `loading.Source`. device, dtype, loras, runtime, errors: see
    `loading.load_pipeline`.
    text_encoder_weights: see `reading.Held`. text_encoder_attention: one of transformers', empty = its choice.
    reference_pixels, condition_pixels: areas at which reference pictures are encoded and all pictures are looked at.
    cache_bytes: device memory for remembered prompts and pictures, 0 = none.
    """

    def assemble(
        number: torch.dtype, vae_number: torch.dtype, device_of: Callable[[str], torch.device]
    ) -> QwenImageEditPlusPipeline:
        tokenizer = checkpoint.load_part(Qwen2Tokenizer, folder / "tokenizer")
        encoder = load_text_encoder(
            folder / "text_encoder", number, device_of("text_encoder"), text_encoder_weights, text_encoder_attention
        )
        return QwenImageEditPlusPipeline(
            scheduler=None,
            vae=vae.load_vae(folder / "vae", vae_number, device_of("vae")),
            text_encoder=encoder,
            tokenizer=tokenizer,
            processor=load_processor(folder / "processor", tokenizer),
            transformer=None,
        )

    loaded = loading.load_pipeline(
        RECIPE,
        Source(folder, gguf, gguf_sha256, weights),
        assemble,
        device=device,
        dtype=dtype,
        pictures=2 * runtime.max_pixels + (MAX_IMAGES - 1) * reference_pixels,
        loras=loras,
        runtime=runtime,
    )
    conditioner = Conditioner(
        loaded.pipeline,
        loaded.target,
        loaded.dtype,
        reference_pixels=reference_pixels,
        condition_pixels=condition_pixels,
        cache=ConditioningCache(SERVICE, cache_bytes),
    )
    masks_prompts = takes_masks(runtime.attention)
    return QwenEditAdapter(
        loaded.pipeline,
        loaded.schedule,
        loaded.network,
        conditioner,
        TokenCounter(loaded.pipeline, condition_pixels),
        cfg_batch="off" if runtime.cfg_batch == "auto" and not masks_prompts else runtime.cfg_batch,
        masks_prompts=masks_prompts,
        region_bytes=runtime.region_bytes,
        target=loaded.target,
        revision=loaded.revision,
    )


def remember_few_places(transformer: Any, _folder: Path) -> None:
    """Keep the rotary angles of `PLACES` images on the device, 2 to 4 MB each.

    diffusers would keep those of 128.
    """
    embedding = transformer.pos_embed
    compute = type(embedding)._compute_video_freqs.__wrapped__  # the plain function, without diffusers' own cache
    embedding._compute_video_freqs = functools.lru_cache(PLACES)(functools.partial(compute, embedding))


RECIPE = Recipe(
    service=SERVICE,
    pipeline=PIPELINE,
    parts=PARTS,
    networks=NETWORKS,
    layout=gguf_names.LAYOUT,
    activations=ACTIVATIONS,
    keep_keys=keep_keys,
    prepare=remember_few_places,
)


def name_of(config: Mapping[str, Any]) -> str:
    """The name of the model whose transformer has this configuration."""
    return f"Qwen-Image-Edit-{2511 if config.get(NEWER) else 2509}"


def check_mask(spec: QwenEditSpec) -> None:
    """Raise `InvalidArgument` for a mask of another size, or one that is all black."""
    if spec.mask is None:
        return
    height, width = spec.images[0].shape[:2]
    if spec.mask.shape != (height, width):
        raise InvalidArgument.field(
            "mask", f"must be {width}x{height} px as images[0] is, is {spec.mask.shape[1]}x{spec.mask.shape[0]}"
        )
    if not spec.mask.any():
        raise InvalidArgument.field(
            "mask",
            "is black everywhere, so there is nothing to edit; paint the region white, or leave the mask out",
            korean="마스크가 전부 검은색이라 편집할 영역이 없습니다. 바꿀 영역을 흰색으로 칠하거나 마스크를 빼세요.",
        )


def region_tokens(spec: QwenEditSpec, rim: int) -> NDArray[np.int64]:
    """The result's tokens that region steps compute: the mask's, with a rim.

    Without a mask they are all tokens.
    """
    height, width, _ = spec.images[0].shape
    return np.arange(height * width // MULTIPLE**2) if spec.mask is None else tokens_of(spec.mask, rim)


def active_negative(spec: QwenEditSpec) -> str | None:
    """The job's negative prompt.

    A blank one counts, but none at a guidance of 1 or less.
    """
    return spec.negative_prompt if spec.true_cfg_scale > 1 else None


def guided(positive: torch.Tensor, negative: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance that keeps the positive prediction's norm per token.

    Qwen-Image's rule.
    """
    combined = extrapolated(positive, negative, scale)
    target = torch.linalg.vector_norm(positive, dim=-1, keepdim=True)
    rescaled: torch.Tensor = combined * (target / torch.linalg.vector_norm(combined, dim=-1, keepdim=True))
    return rescaled


def padded(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Join prompt features (1, L, D) of several jobs as (B, max L, D) with a mask.

    No mask if all have one length.
    """
    lengths = [prompt.shape[1] for prompt in prompts]
    if len(set(lengths)) == 1:
        return torch.cat(list(prompts)), None
    features = prompts[0].new_zeros(len(prompts), max(lengths), prompts[0].shape[2])
    mask = torch.zeros(len(prompts), max(lengths), dtype=torch.bool, device=features.device)
    for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        features[row, :length] = prompt[0]
        mask[row, :length] = True
    return features, mask
