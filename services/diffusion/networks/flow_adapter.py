"""The common part of flow-matching adapters: step, guidance, previews and memory.

A subclass adds its model's conditioning; see `services.diffusion.engine.adapter.Adapter` for the interface.
"""

import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from imgedit.remarks import Remark, Remarks
from services.common.checks import Scales
from services.diffusion.engine.adapter import Part, Workload
from services.diffusion.engine.region_steps import RegionSchedule, RegionSteps, equal_work
from services.diffusion.job_options import LoraUse
from services.diffusion.networks import device as devices
from services.diffusion.networks import finite, flow, vae_pixels
from services.diffusion.networks.guidance import CfgBatch, extrapolated, joins_passes, velocities
from services.diffusion.networks.network import Network
from services.diffusion.networks.token_region import TokenRegion

log = logging.getLogger(__name__)

PromptT = TypeVar("PromptT")

WARM_PROMPTS = ("warm up", "warm up with a prompt of another length, since a graph is made for the first length alone")
"""After two lengths torch compiles for every length. In a batch of both, the shorter one is padded."""

WARM_REGION_STEPS = 28
"""Of a job that warms up region steps: enough for one of them to come early."""


@dataclass(frozen=True)
class WarmJob:
    """A job that only warms up.

    lora: the profile's. is_guided: with a negative prompt. region_steps: with region steps, over half of the picture.
    """

    width: int
    height: int
    lora: str | None = None
    is_guided: bool = False
    prompt: str = WARM_PROMPTS[0]
    region_steps: bool = False

    @property
    def steps(self) -> int:
        """One, or enough for a region step."""
        return WARM_REGION_STEPS if self.region_steps else 1


@dataclass(eq=False)
class FlowState(Generic[PromptT]):
    """A job between steps.

    latents: (1, N, 64), N = H/16 × W/16. negative: None = one pass per step. cfg_scale: how far from the negative
    prompt. joined: both passes in one forward. lora, loras: the profile's and the request's. context: the name of the
    job's step cache, None = without. tokens: what its region steps need, None = it has none.
    """

    height: int
    width: int
    latents: torch.Tensor
    sigmas: torch.Tensor
    step: int
    positive: PromptT
    negative: PromptT | None
    cfg_scale: float
    joined: bool
    lora: str | None
    loras: tuple[LoraUse, ...]
    context: str | None
    tokens: TokenRegion | None


StateT = TypeVar("StateT", bound=FlowState[Any])


class FlowAdapter(ABC, Generic[StateT, PromptT]):
    """One model's jobs for the engine.

    name, revision: what was loaded. region_schedule: which steps of a job with region steps are full. region_bytes: the
    most that a job may keep for them; one that needs more has none. All methods but `workload`, `unchanged`,
    `warnings` and those that name LoRAs belong to one worker thread.
    """

    def __init__(
        self,
        name: str,
        pipeline: Any,
        schedule: dict[str, Any],
        network: Network,
        *,
        target: torch.device,
        revision: str,
        cfg_batch: CfgBatch,
        region_schedule: RegionSchedule,
        region_bytes: int,
    ) -> None:
        self.name = name
        self.revision = revision
        self._pipeline = pipeline
        self._schedule = schedule
        self._network = network
        self._cfg_batch = cfg_batch
        self._region_schedule = region_schedule
        self._region_bytes = region_bytes
        self._device = target
        self._dtype: torch.dtype = pipeline.transformer.dtype
        self._rgb: NDArray[np.float32] | None = None

    @torch.inference_mode()
    def warm_sizes(self, sizes: Sequence[tuple[int, int]], *, jobs: int) -> None:
        """Run a step of every kind at these sizes, (width, height).

        The first job of such a size then waits for no compilation. Kinds: without and with a negative prompt, with each
        profile's LoRA, with region steps where they are turned on, and in batches of up to `jobs`.
        """
        for width, height in sizes:
            started = time.monotonic()
            for lora in (None, *self._network.loras.profiles):
                for is_guided in (False, True):
                    for region_steps in (False, True) if self._network.keeps_keys else (False,):
                        kind = WarmJob(width, height, lora=lora, is_guided=is_guided, region_steps=region_steps)
                        for prompts in _warm_prompts(jobs):
                            states = [self._warm_state(replace(kind, prompt=prompt)) for prompt in prompts]
                            self._warm_steps(states)
            self.decode(states[0])
            seconds = round(time.monotonic() - started, 2)
            log.info("warmed up", extra={"width": width, "height": height, "seconds": seconds})

    def _warm_steps(self, states: Sequence[StateT]) -> None:
        """Run one step, and continue through the first region step if the jobs have any."""
        self.denoise(states)
        region = states[0].tokens
        if region is not None:
            while region.is_full:
                self.denoise(states)
            self.denoise(states)

    def lora_names(self) -> tuple[str, ...]:
        """The LoRAs that requests may name, sorted.

        May be called from any thread.
        """
        return self._network.loras.names()

    def chosen_loras(self, asked: Scales) -> tuple[LoraUse, ...]:
        """The LoRAs of a job, by the names and strengths of its request.

        May be called from any thread. Raises `InvalidArgument` that names the field.
        """
        return self._network.loras.chosen(asked)

    @torch.inference_mode()
    def denoise(self, states: Sequence[StateT]) -> None:
        """Advance every state by one step.

        A negative prompt adds a second pass, in the same forward for small shapes. Raises `NumericFailure` for latents
        that are not finite: further steps would only spread it.
        """
        positives = [state.positive for state in states]
        negatives = [state.negative for state in states if state.negative is not None]
        if negatives:
            cond, uncond = velocities(self._velocity, states, positives, negatives, joined=states[0].joined)
            scales = [state.cfg_scale for state in states]
            scale = torch.tensor(scales, dtype=torch.float32, device=self._device)[:, None, None]
            velocity = self._guided(cond, uncond, scale)
        else:
            velocity = self._velocity(states, positives, "positive")
        rows = [_whole(state, velocity[i : i + 1]) for i, state in enumerate(states)]
        stepped = [self._advanced(state, row) for state, row in zip(states, rows, strict=True)]
        finite.check_finite(self._network.service, "denoise", *stepped)
        devices.finish(self._device)  # what can fail has failed by now, and no state has changed
        for state, latents, row in zip(states, stepped, rows, strict=True):
            state.latents = latents
            state.step += 1
            if state.tokens is not None:
                state.tokens.advance(row)

    def latents(self, state: StateT) -> NDArray[np.float32]:
        """The current latents on the CPU, (H/8, W/8, 16) float32."""
        return vae_pixels.latent_grid(unpacked(state))

    def latent_rgb(self) -> NDArray[np.float32]:
        """The map from latents to RGB, (17, 3); measured on first use."""
        if self._rgb is None:
            self._rgb = vae_pixels.measure_latent_rgb(self._encode_mode)
        return self._rgb

    def skipped(self, state: StateT) -> int:
        """Forwards that the job's step cache has answered."""
        return 0 if state.context is None else self._network.skipped(state.context)

    def release(self, state: StateT) -> None:
        """Drop the job's step cache and its hold on LoRAs."""
        self._network.loras.unpin(state)
        if state.context is not None:
            self._network.forget(state.context)

    def is_out_of_memory(self, error: Exception) -> bool:
        """Whether the exception means that memory ran out."""
        return devices.is_out_of_memory(error)

    def device_works(self) -> bool:
        """Whether the device still responds."""
        return devices.works(self._device)

    def free_memory(self) -> None:
        """Clear the conditioning cache, unload requests' LoRAs, free cached memory."""
        self._forget()
        self._network.loras.unload()
        devices.free_memory(self._device)

    def peak_memory(self) -> int:
        """Peak bytes of device memory; 0 on the CPU."""
        return devices.peak_memory(self._device)

    @abstractmethod
    def decode(self, state: StateT) -> NDArray[np.uint8]:
        """The finished image, (H, W, 3) uint8."""

    @abstractmethod
    def _velocity(self, states: Sequence[StateT], prompts: Sequence[PromptT], sign: str) -> torch.Tensor:
        """One transformer pass over all states under these prompts, (B, N, 64).

        A region step returns its computed tokens alone. sign: for the step cache and for kept keys.
        """

    @abstractmethod
    def _encode_mode(self, pixels: torch.Tensor) -> torch.Tensor:
        """The VAE's most likely latents of (1, 3, H, W) in [-1, 1]: (1, 16, H/8, W/8).

        Scaled for the transformer.
        """

    @abstractmethod
    def _warm_state(self, job: WarmJob) -> StateT:
        """The prepared job."""

    @abstractmethod
    def _forget(self) -> None:
        """Clear the conditioning cache."""

    def _guided(self, cond: torch.Tensor, uncond: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """Classifier-free guidance of velocities (B, N, 64) by scales (B, 1, 1) float32."""
        return extrapolated(cond, uncond, scale)

    def _advanced(self, state: StateT, velocity: torch.Tensor) -> torch.Tensor:
        """The job's latents (1, N, 64) after a step with this velocity."""
        return flow.euler_step(state.latents, velocity, state.sigmas[state.step], state.sigmas[state.step + 1])

    def _levels(self, states: Sequence[StateT]) -> torch.Tensor:
        """Each state's noise level in [0, 1] in the transformer's format, (B,)."""
        levels = torch.cat([(state.sigmas[state.step] * 1000).to(self._dtype)[None] for state in states])
        return levels.to(self._device) / 1000

    def _levels_of(self, lora: str | None, steps: int, strength: float, tokens: int) -> tuple[torch.Tensor, int]:
        """Noise levels of a run, (steps + 1,), and the number of its first step.

        tokens: the picture's size, which shifts the levels.
        """
        schedule = self._network.loras.schedule(lora, self._schedule)
        return flow.noise_levels(schedule, steps, tokens), flow.skipped_steps(steps, strength)

    def _region_steps(
        self, levels: torch.Tensor, *, computed: int, pictures: int, text: int, passes: int
    ) -> RegionSteps | None:
        """The region steps of a job; None if they could not save any work.

        levels: noise levels of the job's steps, and the final level. computed: tokens that a region step computes, of
        the `pictures` tokens in all.
        """
        full = self._region_schedule.full_steps(levels.tolist())
        if all(full) or computed == pictures:
            return None
        config = self._pipeline.transformer.config
        width = config.num_attention_heads * config.attention_head_dim
        blocks = config.num_layers + getattr(config, "num_single_layers", 0)
        return RegionSteps(
            full=full,
            tokens=equal_work(text + computed, text + pictures, width),
            kept_bytes=passes * blocks * (pictures - computed) * 2 * width * self._dtype.itemsize,
        )

    def _fits(self, region: RegionSteps | None) -> bool:
        return region is None or region.kept_bytes <= self._region_bytes

    def _region_warnings(self, region: RegionSteps | None) -> Remarks:
        if region is None or self._fits(region):
            return ()
        needed, allowed = (math.ceil(size / 2**20) for size in (region.kept_bytes, self._region_bytes))
        remark = Remark(
            f"region_steps: every step computed every token, since {needed:,} MiB of keys and values would have to be "
            f"kept and this server allows {allowed:,} MiB",
            f"모든 스텝에서 이미지 전체를 계산했습니다. 영역만 계산하려면 {needed:,} MiB가 필요하지만 "
            f"이 서버는 {allowed:,} MiB까지 허용합니다.",
        )
        return (remark,)

    def _joins(self, workload: Workload, *, step_cache: bool) -> bool:
        return joins_passes(self._cfg_batch, workload.tokens, passes=workload.passes, step_cache=step_cache)


def lora_parts(uses: Iterable[LoraUse]) -> frozenset[Part]:
    """The parts of a job with these LoRAs."""
    return frozenset(Part((use.name, use.version), use.nbytes) for use in uses)


def _warm_prompts(jobs: int) -> Iterator[list[str]]:
    """The prompts of each batch that warms up: of one length, of another, and of both."""
    for count in range(1, jobs + 1):
        for prompts in ((WARM_PROMPTS[0],), (WARM_PROMPTS[1],), WARM_PROMPTS)[: 2 if count == 1 else 3]:
            yield [prompts[number % len(prompts)] for number in range(count)]


def unpacked(state: FlowState[Any]) -> torch.Tensor:
    """A job's latents as an image, (1, 16, H/8, W/8)."""
    return flow.unpack(state.latents, state.height // 8, state.width // 8)


def computed(states: Sequence[FlowState[Any]], inputs: torch.Tensor) -> torch.Tensor:
    """The tokens that the next step computes, of (B, N, C).

    They are all tokens, or those of each state's region.
    """
    regions = [state.tokens for state in states if state.tokens is not None and not state.tokens.is_full]
    if not regions:
        return inputs
    return torch.stack([tokens[region.computed] for tokens, region in zip(inputs, regions, strict=True)])


def _whole(state: FlowState[Any], velocity: torch.Tensor) -> torch.Tensor:
    return velocity if state.tokens is None else state.tokens.whole(velocity)


def step_context(state: FlowState[Any], sign: str) -> str | None:
    """The name of the step cache of this pass; None without one."""
    return None if state.context is None else f"{state.context}:{sign}"
