"""Qwen-Image-Edit-2509: edit a picture by instruction. Loads the model and runs its jobs step by step for the engine.

A job's numbers are those of diffusers' `QwenImageEditPlusPipeline.__call__` for the same seed. Four things are ours:
the first picture is encoded at its own size, which is also the answer's, so that nothing shifts or zooms; the answer
follows the first picture, not the last; `strength` below 1 starts from the first picture's latents instead of pure
noise; and a mask keeps all outside it on the first picture. Knows nothing of requests, queues or how the orchestrator
lays the result back.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLQwenImage, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage.pipeline_qwenimage_edit_plus import QwenImageEditPlusPipeline
from numpy.typing import NDArray
from PIL import Image
from transformers import Qwen2Tokenizer

from imgedit.errors import InvalidArgument
from services.diffusion import checkpoint, flow, gguf_weights, picture
from services.diffusion import device as devices
from services.diffusion.adapter import Plan
from services.diffusion.conditioning import ConditioningCache, content_key
from services.diffusion.gguf_weights import Weights
from services.diffusion.guidance import CfgBatch, joins_passes, velocities
from services.diffusion.lora import LoraFile, LoraShelf
from services.diffusion.network import Network
from services.diffusion.tuning import UNTUNED, Tuning, free_for_transformer
from services.diffusion.tuning import apply as apply_tuning
from services.qwen_edit import gguf_names
from services.qwen_edit.instructions import RewriteSpec
from services.qwen_edit.processor import load_processor
from services.qwen_edit.region import Region
from services.qwen_edit.rewriting import Writer
from services.qwen_edit.spec import QwenEditSpec
from services.qwen_edit.text_encoder import TextEncoderWeights, load_text_encoder

SERVICE = "qwen_edit"
NAME = "Qwen-Image-Edit-2509"
PIPELINE = "QwenImageEditPlusPipeline"
PARTS = ("processor", "scheduler", "text_encoder", "tokenizer", "transformer", "vae")
NETWORKS = ("text_encoder", "vae", "transformer")
MULTIPLE = 16
MAX_IMAGES = 3
CACHE_BYTES = 256 * 1024 * 1024

REFERENCE_PIXELS = 1024 * 1024
"""Area at which reference pictures are encoded by the VAE."""

CONDITION_PIXELS = 384 * 384
"""Area at which Qwen2.5-VL looks at every picture."""

GLANCE_PIXELS = 224 * 224
"""Area at which Qwen2.5-VL looks at a picture when it writes a prompt out: it holds up the edits meanwhile."""

TEXT_TOKENS = 64
"""Text tokens assumed when a job's work is estimated; the real number is known after encoding."""


@dataclass(eq=False)
class QwenEditState:
    """A job between steps.

    latents: (1, N, 64), N = H/16 × W/16. pictures: (1, M, 64), the encoded inputs, one after another. shapes: (1, rows,
    columns) of the answer and of each input, in tokens. positive, negative: (1, L, D) prompt features.
    region: where the mask lets it edit, None = everywhere. context: the name of the job's step cache, None = without.
    """

    height: int
    width: int
    latents: torch.Tensor
    pictures: torch.Tensor
    shapes: list[tuple[int, int, int]]
    sigmas: torch.Tensor
    step: int
    positive: torch.Tensor
    negative: torch.Tensor | None
    true_cfg_scale: float
    region: Region | None
    joined: bool
    lora: str | None
    context: str | None


class QwenEditAdapter:
    """Qwen-Image-Edit's jobs for the engine; see `services.diffusion.adapter.Adapter`.

    name, revision: what was loaded. All methods but `plan` and `unchanged` belong to one worker thread.
    """

    def __init__(
        self,
        pipeline: QwenImageEditPlusPipeline,
        schedule: dict[str, Any],
        network: Network,
        *,
        target: torch.device,
        revision: str,
        reference_pixels: int = REFERENCE_PIXELS,
        condition_pixels: int = CONDITION_PIXELS,
        cache_bytes: int = 0,
        cfg_batch: CfgBatch = "auto",
    ) -> None:
        self.name = NAME
        self.revision = revision
        self._pipeline = pipeline
        self._schedule = schedule
        self._network = network
        self._cfg_batch = cfg_batch
        self._device = target
        self._dtype: torch.dtype = pipeline.transformer.dtype
        self._reference_pixels = reference_pixels
        self._condition_pixels = condition_pixels
        self._rgb: NDArray[np.float32] | None = None
        self._cache = ConditioningCache(SERVICE, cache_bytes)
        self._writer = Writer(pipeline.text_encoder, pipeline.processor, target)

    def plan(self, spec: QwenEditSpec) -> Plan:
        """Judge the spec and size its work; `InvalidArgument` names the field at fault."""
        if not 1 <= len(spec.images) <= MAX_IMAGES:
            raise InvalidArgument.field("images", f"1 to {MAX_IMAGES} are expected, not {len(spec.images)}")
        picture.check_sides("images[0]", spec.images[0], MULTIPLE)
        for index, image in enumerate(spec.images[1:], start=1):
            picture.check_sides(f"images[{index}]", image, 1)
        check_mask(spec)
        picture.check_steps(spec.steps, spec.strength)
        self._network.check(spec.lora, spec.step_cache)
        shapes = self._shapes(spec)
        seen = sum(math.prod(size_for(self._condition_pixels, image)) // 784 for image in spec.images)
        passes = 1 if active_negative(spec) is None else 2
        tokens = sum(math.prod(shape) for shape in shapes) + seen + TEXT_TOKENS
        return Plan(
            steps=spec.steps - flow.skipped_steps(spec.steps, spec.strength),
            tokens=tokens,
            passes=passes,
            nbytes=sum(image.nbytes for image in spec.images) + (0 if spec.mask is None else spec.mask.nbytes),
            batch_key=None if spec.step_cache else (*shapes, tokens, passes, spec.lora),
        )

    def unchanged(self, spec: QwenEditSpec) -> NDArray[np.uint8]:
        """The input's pixels, for a job with no steps to run."""
        return spec.images[0].copy()

    @torch.inference_mode()
    def prepare(self, spec: QwenEditSpec) -> QwenEditState:
        """Encode prompt and pictures, draw the noise."""
        height, width, _ = spec.images[0].shape
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        schedule = self._network.loras.schedule(spec.lora, self._schedule)
        sigmas = flow.noise_levels(schedule, spec.steps, height * width // MULTIPLE**2)
        start = flow.skipped_steps(spec.steps, spec.strength)
        positive = self._features(spec.prompt, spec.images)
        away = active_negative(spec)
        negative = None if away is None else self._features(away, spec.images)
        encoded = [self._encode_picture(index, image) for index, image in enumerate(spec.images)]
        noise = picture.randn(tuple(encoded[0].shape), generator, self._device, self._dtype)
        latents = noise if start == 0 else flow.noised(encoded[0], noise, sigmas[start])
        state = QwenEditState(
            height=height,
            width=width,
            latents=flow.pack(latents),
            pictures=torch.cat([flow.pack(latents) for latents in encoded], dim=1),
            shapes=self._shapes(spec),
            sigmas=sigmas,
            step=start,
            positive=positive,
            negative=negative,
            true_cfg_scale=spec.true_cfg_scale,
            region=None if spec.mask is None else Region.of(spec.images[0], spec.mask, encoded[0], noise),
            joined=self._joins(spec),
            lora=spec.lora,
            context=self._network.new_context() if spec.step_cache else None,
        )
        devices.finish(self._device)
        return state

    @torch.inference_mode()
    def denoise(self, states: Sequence[QwenEditState]) -> None:
        """Advance every state by one step; a negative prompt is a second pass, in the same forward for small shapes."""
        positives = [state.positive for state in states]
        negatives = [state.negative for state in states if state.negative is not None]
        if negatives:
            towards, away = velocities(self._velocity, states, positives, negatives, joined=states[0].joined)
            scale = torch.tensor([state.true_cfg_scale for state in states]).to(towards)[:, None, None]
            velocity = guided(towards, away, scale)
        else:
            velocity = self._velocity(states, positives, "positive")
        stepped = [advanced(state, velocity[i : i + 1]) for i, state in enumerate(states)]
        devices.finish(self._device)  # what can fail has failed by now, and no state has changed
        for state, latents in zip(states, stepped, strict=True):
            state.latents = latents
            state.step += 1

    def decode(self, state: QwenEditState) -> NDArray[np.uint8]:
        """The finished picture, (H, W, 3) uint8; outside the mask its pixels are the first picture's."""
        painted = picture.to_uint8(self.decode_float(state))
        return painted if state.region is None else state.region.laid_over(painted)

    @torch.inference_mode()
    def decode_float(self, state: QwenEditState) -> torch.Tensor:
        """What the VAE makes of the latents, before rounding and without the mask: (1, 3, H, W), about [-1, 1]."""
        mean, deviation = self._latent_scale()
        latents = flow.unpack(state.latents, state.height // 8, state.width // 8)
        latents = latents / (1.0 / deviation) + mean  # not `* deviation`: to the last bit as the pipeline rounds it
        pixels: torch.Tensor = self._pipeline.vae.decode(latents[:, :, None]).sample  # (1, 3, 1, H, W)
        return pixels[:, :, 0]

    def latents(self, state: QwenEditState) -> NDArray[np.float32]:
        """The latents of the picture so far on the CPU, (H/8, W/8, 16) float32."""
        return picture.latent_grid(flow.unpack(state.latents, state.height // 8, state.width // 8))

    def latent_rgb(self) -> NDArray[np.float32]:
        """The map from latents to RGB, (17, 3); measured on first use."""
        if self._rgb is None:
            self._rgb = picture.measure_latent_rgb(self._encode)
        return self._rgb

    def rewrite(self, spec: RewriteSpec, should_stop: Callable[[], bool]) -> str:
        """What Qwen2.5-VL answers; see `services.qwen_edit.rewriting.Writer.write`."""
        return self._writer.write(spec, [scaled(image, GLANCE_PIXELS) for image in spec.images], should_stop)

    def release(self, state: QwenEditState) -> None:
        """Drop the job's step cache."""
        if state.context is not None:
            self._network.forget(state.context)

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether the exception means that memory ran out."""
        return devices.is_out_of_memory(error)

    def free_memory(self) -> None:
        """Forget remembered conditioning and return cached memory to the device."""
        self._cache.clear()
        devices.free_memory(self._device)

    def peak_memory(self) -> int:
        """Most bytes of device memory used at once; 0 on the CPU."""
        return devices.peak_memory(self._device)

    def warm_up(self) -> None:
        """Run one tiny job from end to end, so that the first request pays for no initialisation."""
        image = np.full((64, 64, 3), 128, np.uint8)
        state = self.prepare(QwenEditSpec((image,), "warm up", " ", true_cfg_scale=2.0, steps=1, strength=1.0, seed=0))
        self.denoise([state])
        self.decode(state)
        self.latent_rgb()

    def _joins(self, spec: QwenEditSpec) -> bool:
        plan = self.plan(spec)
        return joins_passes(self._cfg_batch, plan.tokens, passes=plan.passes, step_cache=spec.step_cache)

    def _velocity(self, states: Sequence[QwenEditState], prompts: Sequence[torch.Tensor], sign: str) -> torch.Tensor:
        """One transformer pass over all states under these prompts: (B, N, 64). sign: for the step cache."""
        levels = torch.cat([(state.sigmas[state.step] * 1000).to(self._dtype)[None] for state in states])
        first = states[0]
        features, mask = padded(prompts)
        output = self._network.run(
            lora=first.lora,
            context=None if first.context is None else f"{first.context}:{sign}",
            hidden_states=torch.cat([torch.cat([state.latents, state.pictures], dim=1) for state in states]),
            timestep=levels.to(self._device) / 1000,
            encoder_hidden_states=features,
            encoder_hidden_states_mask=mask,
            img_shapes=[state.shapes for state in states],
        )
        return output[:, : first.latents.shape[1]]

    def _features(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """(1, L, D): what Qwen2.5-VL makes of the prompt and the pictures; remembered by their content."""
        key = f"{content_key(*images)} {prompt}"
        (features,) = self._cache.get("prompt", key, lambda: (self._look(prompt, images),))
        return features

    def _look(self, prompt: str, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
        """(1, L, D): Qwen2.5-VL's last hidden states, without those of the template's system part."""
        pictures = "".join(
            f"Picture {number}: <|vision_start|><|image_pad|><|vision_end|>" for number in range(1, len(images) + 1)
        )
        text = self._pipeline.prompt_template_encode.format(pictures + prompt)
        seen = [scaled(image, self._condition_pixels) for image in images]
        inputs = self._pipeline.processor(text=[text], images=seen, padding=True, return_tensors="pt")
        inputs = inputs.to(self._device)
        output = self._pipeline.text_encoder(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            pixel_values=inputs["pixel_values"],
            image_grid_thw=inputs["image_grid_thw"],
            output_hidden_states=True,
            logits_to_keep=1,  # nobody reads the (L, vocabulary) logits
        )
        features: torch.Tensor = output.hidden_states[-1][:, self._pipeline.prompt_template_encode_start_idx :].to(
            self._dtype
        )
        return features

    def _encode_picture(self, index: int, image: NDArray[np.uint8]) -> torch.Tensor:
        """(1, 16, h, w): the picture's latents; remembered by its content."""
        key = f"{'first' if index == 0 else 'reference'} {content_key(image)}"
        (latents,) = self._cache.get("image", key, lambda: (self._encode(self._vae_pixels(index, image)),))
        return latents

    def _vae_pixels(self, index: int, image: NDArray[np.uint8]) -> torch.Tensor:
        """(1, 3, h, w) in [-1, 1]: the first picture as it is, a reference at its encoding size."""
        if index > 0:
            height, width = self._reference_size(image)
            image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
        return picture.to_tensor(image)

    def _reference_size(self, image: NDArray[np.uint8]) -> tuple[int, int]:
        return size_for(self._reference_pixels, image)

    def _shapes(self, spec: QwenEditSpec) -> list[tuple[int, int, int]]:
        first = spec.images[0].shape[:2]
        sizes = [first, first, *(self._reference_size(image) for image in spec.images[1:])]
        return [(1, height // MULTIPLE, width // MULTIPLE) for height, width in sizes]

    @torch.inference_mode()
    def _encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The VAE's most likely latents of pixels (1, 3, h, w): (1, 16, h/8, w/8), normalised."""
        mean, deviation = self._latent_scale()
        clip = pixels.to(self._device, self._dtype)[:, :, None]  # (1, 3, 1, h, w): a video of one frame
        latents: torch.Tensor = self._pipeline.vae.encode(clip).latent_dist.mode()[:, :, 0]
        return (latents - mean) / deviation

    def _latent_scale(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and standard deviation of the VAE's latents, (1, 16, 1, 1) each."""
        config = self._pipeline.vae.config
        mean, deviation = (
            torch.tensor(values, device=self._device, dtype=self._dtype)[None, :, None, None]
            for values in (config.latents_mean, config.latents_std)
        )
        return mean, deviation


def load(
    folder: Path,
    *,
    gguf: Path | None = None,
    gguf_sha256: str | None = None,
    weights: Weights = "auto",
    text_encoder_weights: TextEncoderWeights = "dense",
    text_encoder_attention: str = "",
    device: str = "auto",
    dtype: str = "auto",
    reference_pixels: int = REFERENCE_PIXELS,
    condition_pixels: int = CONDITION_PIXELS,
    cache_bytes: int = CACHE_BYTES,
    loras: Mapping[str, LoraFile] = MappingProxyType({}),
    tuning: Tuning = UNTUNED,
) -> QwenEditAdapter:
    """Load Qwen-Image-Edit-2509 from a local folder in diffusers layout; nothing is downloaded, no code is run from it.

    gguf: take the transformer's weights from this file instead (its sizes still come from the folder). gguf_sha256: hex
    digest that it must have. weights: auto, dense or gguf, see `gguf_weights.load_transformer`. text_encoder_weights:
    dense or int8, see `int8.py`. text_encoder_attention: one of transformers', empty = its choice.
    device: auto, cpu, cuda, cuda:N. dtype: auto (bfloat16 on CUDA, float32 on the CPU), bfloat16, float16, float32.
    reference_pixels, condition_pixels: areas at which reference pictures are encoded and all pictures are looked at.
    cache_bytes: device memory for remembered prompts and pictures, 0 = none. loras: by the name that specs use. tuning:
    memory and speed. Raises `ModelLoadError` naming the path at fault, `SettingsError` for a device, dtype or setting
    that cannot be had.
    """
    target = devices.device_named(device)
    number = devices.dtype_named(dtype, target)
    checkpoint.check_folder(folder, PIPELINE, PARTS)
    weights_of = checkpoint.load_network
    tokenizer = checkpoint.load_part(Qwen2Tokenizer, folder / "tokenizer")
    pipeline = QwenImageEditPlusPipeline(
        scheduler=None,
        vae=weights_of(AutoencoderKLQwenImage, folder / "vae", number),
        text_encoder=load_text_encoder(folder / "text_encoder", number, text_encoder_weights, text_encoder_attention),
        tokenizer=tokenizer,
        processor=load_processor(folder / "processor", tokenizer),
        transformer=None,
    )
    if gguf is None:
        transformer = weights_of(QwenImageTransformer2DModel, folder / "transformer", number)
    else:
        transformer = gguf_weights.load_transformer(
            gguf_names.LAYOUT,
            gguf,
            folder / "transformer",
            device=target if tuning.offload == "none" else torch.device("cpu"),
            dtype=number,
            weights=weights,
            free=free_for_transformer(pipeline, NETWORKS, target, tuning),
            sha256=gguf_sha256,
        )
    pipeline.register_modules(transformer=transformer)
    shelf = LoraShelf(pipeline, loras)
    network = Network(pipeline, shelf, step_cache_threshold=tuning.step_cache_threshold, service=SERVICE)
    apply_tuning(tuning, pipeline, NETWORKS, target)
    files = checkpoint.weight_files(folder)
    return QwenEditAdapter(
        pipeline,
        flow.schedule_config(folder / "scheduler"),
        network,
        # Prompts of two lengths need a mask, which many of the other attention backends do not take.
        cfg_batch="off" if tuning.attention and tuning.cfg_batch == "auto" else tuning.cfg_batch,
        target=target,
        revision=checkpoint.revision_of(files if gguf is None else [*files, gguf]),
        reference_pixels=reference_pixels,
        condition_pixels=condition_pixels,
        cache_bytes=cache_bytes,
    )


def check_mask(spec: QwenEditSpec) -> None:
    """`InvalidArgument` unless the spec has no mask, or one of the first picture's size that is not black all over."""
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


def advanced(state: QwenEditState, velocity: torch.Tensor) -> torch.Tensor:
    """The job's latents (1, N, 64) after a step with this velocity; outside its region they stay on the picture."""
    sigma, following = state.sigmas[state.step], state.sigmas[state.step + 1]
    latents = flow.euler_step(state.latents, velocity, sigma, following)
    return latents if state.region is None else state.region.hold(latents, following)


def active_negative(spec: QwenEditSpec) -> str | None:
    """The negative prompt that the job will use: a blank one counts, and none is used at a guidance of 1 or less."""
    return spec.negative_prompt if spec.true_cfg_scale > 1 else None


def size_for(area: int, image: NDArray[np.uint8]) -> tuple[int, int]:
    """(height, width) of about `area` pixels with the picture's aspect, both multiples of 32 and at least 32."""
    aspect = image.shape[1] / image.shape[0]
    width = math.sqrt(area * aspect)
    return max(32, round(width / aspect / 32) * 32), max(32, round(width / 32) * 32)


def scaled(image: NDArray[np.uint8], area: int) -> Image.Image:
    """The picture at about this area, for Qwen2.5-VL to look at."""
    height, width = size_for(area, image)
    return Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)


def guided(positive: torch.Tensor, negative: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance with the length of the positive prediction kept, token by token (Qwen-Image's rule)."""
    combined = negative + scale * (positive - negative)
    target = torch.linalg.vector_norm(positive, dim=-1, keepdim=True)
    rescaled: torch.Tensor = combined * (target / torch.linalg.vector_norm(combined, dim=-1, keepdim=True))
    return rescaled


def padded(prompts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Prompt features (1, L, D) of several jobs as one (B, max L, D) and its mask; no mask when all have one length."""
    lengths = [prompt.shape[1] for prompt in prompts]
    if len(set(lengths)) == 1:
        return torch.cat(list(prompts)), None
    features = prompts[0].new_zeros(len(prompts), max(lengths), prompts[0].shape[2])
    mask = torch.zeros(len(prompts), max(lengths), dtype=torch.bool, device=features.device)
    for row, (prompt, length) in enumerate(zip(prompts, lengths, strict=True)):
        features[row, :length] = prompt[0]
        mask[row, :length] = True
    return features, mask
