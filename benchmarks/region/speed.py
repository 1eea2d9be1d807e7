"""Time full and region steps of FLUX.1-Fill and Qwen-Image-Edit.

Their transformers have the published widths.

The weights are random and the blocks few: all blocks of a kind take equally long, so a job's ratio is that of one block
of each kind where as many of both are timed as in the published proportion, and nearly so otherwise.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.transformers.transformer_qwenimage import QwenImageTransformer2DModel

from services.diffusion.engine.region_steps import RegionSchedule, RegionSteps
from services.diffusion.networks.kept_keys import KeyKeeper
from services.diffusion.networks.lora import LoraRegistry
from services.diffusion.networks.network import Network
from services.diffusion.networks.token_region import TOKEN_PX, TokenRegion, keyed_forward, tokens_of
from services.fill import attention as fill_attention
from services.fill import gguf_names as fill_names
from services.fill import model as fill
from services.qwen_edit import attention as qwen_attention
from services.qwen_edit import gguf_names as qwen_names
from services.qwen_edit import model as qwen

FLUX_TEXT, QWEN_TEXT = 512, 200
FLUX_BLOCKS, QWEN_BLOCKS = 57, 60
SHIFTS = {"flux": 1.15, "qwen": 0.69}
"""Of the noise levels, of 4,096 tokens."""

Forward = Callable[[TokenRegion | None], Any]


def rows(model: str, side: int, blocks: Sequence[int], shares: Sequence[float | None], repeats: int, steps: int) -> Any:
    """One row per share of the picture that the mask covers; None = no mask.

    blocks: double and single ones of FLUX, or those of Qwen.
    """
    forward, keeping, pictures = (_flux if model == "flux" else _qwen)(side, blocks)
    schedule = fill.REGION_SCHEDULE if model == "flux" else qwen.REGION_SCHEDULE
    for share in shares:
        computed = _computed(side, share, schedule.rim)
        region = TokenRegion.from_steps(
            RegionSteps((True, False, True), 1, 1), torch.from_numpy(computed), pictures, passes=1
        )
        kinds: dict[str, list[float]] = {"full": [], "keeping": [], "region": []}
        for _ in range(repeats):
            for kind, seconds in kinds.items():
                region.done = 1 if kind == "region" else 0
                started = time.perf_counter()
                with torch.inference_mode():
                    forward(None if kind == "full" else region)
                seconds.append(time.perf_counter() - started)
        yield _row(model, share, schedule, steps, region, kinds, keeping)


def _row(
    model: str,
    share: float | None,
    schedule: RegionSchedule,
    steps: int,
    region: TokenRegion,
    kinds: dict[str, list[float]],
    blocks: int,
) -> dict[str, Any]:
    full, keeping, sparse = (statistics.median(seconds) for seconds in kinds.values())
    flags = schedule.full_steps(levels(steps, SHIFTS[model]))
    keeps = sum(is_full and not after for is_full, after in zip(flags, [*flags[1:], True], strict=True))
    job = keeps * keeping + (sum(flags) - keeps) * full + (steps - sum(flags)) * sparse
    kept = sum(tensor.nbytes for pair in region.passes["positive"].blocks for tensor in pair)
    published = FLUX_BLOCKS if model == "flux" else QWEN_BLOCKS
    return {
        "model": model,
        "mask": share,
        "computed_tokens": len(region.computed),
        "full_steps": sum(flags),
        "steps": steps,
        "full_seconds": round(full, 3),
        "keeping_seconds": round(keeping, 3),
        "region_seconds": round(sparse, 3),
        "faster": round(steps * full / job, 2),
        "kept_gib_bf16_published": round(kept / blocks * published / 2 / 2**30, 2),
    }


def levels(steps: int, shift: float) -> list[float]:
    """The noise levels of a run: evenly spaced, shifted by exp(shift), and 0."""
    even = [1 - step / steps for step in range(steps)]
    stretch = float(np.exp(shift))
    return [*(stretch / (stretch + 1 / level - 1) for level in even), 0.0]


def _computed(side: int, share: float | None, rim: int) -> np.ndarray:
    if share is None:
        return np.arange((side // TOKEN_PX) ** 2)
    mask = np.zeros((side, side), np.uint8)
    edge = round(side * share**0.5)
    first = (side - edge) // 2
    mask[first : first + edge, first : first + edge] = 255
    return tokens_of(mask, rim)


def _flux(side: int, blocks: Sequence[int]) -> tuple[Forward, int, int]:
    transformer = FluxTransformer2DModel(
        in_channels=384, out_channels=64, num_layers=blocks[0], num_single_layers=blocks[1], guidance_embeds=True
    ).eval()
    keeper = KeyKeeper()
    fill_attention.keep_keys(transformer, keeper)
    network = _network(transformer, keeper, fill_names.LAYOUT)
    tokens = (side // TOKEN_PX) ** 2
    latents, text = torch.randn(1, tokens, 384), torch.randn(1, FLUX_TEXT, 4096)
    pooled, one = torch.randn(1, 768), torch.ones(1)

    def forward(region: TokenRegion | None) -> Any:
        return network.forward(
            lora=None,
            loras=(),
            context=None,
            keys=keyed_forward([region], "positive"),
            hidden_states=_part(latents, region),
            timestep=one / 2,
            guidance=one,
            pooled_projections=pooled,
            encoder_hidden_states=text,
            txt_ids=torch.zeros(FLUX_TEXT, 3),
            img_ids=fill.position_ids(side, side),
        )

    return forward, sum(blocks), tokens


def _part(latents: torch.Tensor, region: TokenRegion | None) -> torch.Tensor:
    """The tokens that this forward computes."""
    return latents if region is None or region.is_full else latents[:, region.computed]


def _qwen(side: int, blocks: Sequence[int]) -> tuple[Forward, int, int]:
    transformer = QwenImageTransformer2DModel(num_layers=blocks[0]).eval()
    keeper = KeyKeeper()
    qwen_attention.keep_keys(transformer, keeper)
    network = _network(transformer, keeper, qwen_names.LAYOUT)
    edge = side // TOKEN_PX
    tokens = edge**2
    latents, text = torch.randn(1, 2 * tokens, 64), torch.randn(1, QWEN_TEXT, 3584)

    def forward(region: TokenRegion | None) -> Any:
        return network.forward(
            lora=None,
            loras=(),
            context=None,
            keys=keyed_forward([region], "positive"),
            hidden_states=_part(latents, region),
            timestep=torch.ones(1) / 2,
            encoder_hidden_states=text,
            encoder_hidden_states_mask=None,
            img_shapes=[[(1, edge, edge), (1, edge, edge)]],
        )

    return forward, blocks[0], 2 * tokens


def _network(transformer: Any, keeper: KeyKeeper, layout: Any) -> Network:
    pipeline = SimpleNamespace(transformer=transformer)
    loras = LoraRegistry(transformer, {}, layout)
    return Network(pipeline, loras, step_cache_threshold=0, service="benchmark", keeper=keeper)
