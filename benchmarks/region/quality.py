"""Compare results with and without region steps on held-out scenes of the demo."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.region.scenes import FILL_CASES, QWEN_CASES, Case, Spec, fast
from demo.judge import Judge
from imgedit.imaging.images import blend
from imgedit.local.supervisor import DEMO_REFERENCE_PIXELS
from services.diffusion.engine.region_steps import RegionSchedule
from services.diffusion.job_requests import FAST_LORA
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import load_fill as load_fill
from services.fill.spec import FillSpec
from services.qwen_edit.model import load_qwen_edit as load_qwen

IDENTICAL = 99.0
"""PSNR, in dB, of pictures without a difference."""


@dataclass(frozen=True)
class Way:
    """A way to save work: a region schedule, or a step cache with a threshold."""

    name: str
    schedule: RegionSchedule | None = None
    threshold: float = 0.0


@dataclass
class Found:
    """Results of one task's jobs in one way.

    psnr: inside the mask. work: relative to a job whose steps are all full. right: whether a judge sees the requested
    edit.
    """

    right: list[bool] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    work: list[float] = field(default_factory=list)
    region_steps: list[float] = field(default_factory=list)


def measured(
    models: Path, tasks: Sequence[str], ways: Sequence[Way], scenes: int, profile: str, strip: Path | None
) -> Iterator[dict[str, Any]]:
    """A row for each task and way.

    strip: a picture to write: each task's first scene in full, by the first way, and their difference.
    """
    pieces, judge = [], Judge()
    for name in tasks:
        cases = FILL_CASES if name in FILL_CASES else QWEN_CASES
        plain = _adapter(models, name, 0.0)
        caches = {way.threshold: _adapter(models, name, way.threshold) for way in ways if way.threshold}
        found, right = {way.name: Found() for way in ways}, []
        for number in range(scenes):
            case = cases[name](number)
            case = replace(case, spec=fast(case.spec, FAST_LORA)) if profile == "fast" else case
            full = _run(plain, case.spec)[0]
            right.append(case.is_right(judge, _shown(full, case.spec)))
            for way in ways:
                picture = _tried(caches.get(way.threshold, plain), case, way, full, found[way.name])
                found[way.name].right.append(case.is_right(judge, _shown(picture, case.spec)))
                if number == 0 and way is ways[0]:
                    pieces.append(_strip(full, picture))
        for way in ways:
            head = {"task": name, "profile": profile, "way": way.name, "scenes": scenes, "right_in_full": sum(right)}
            yield {**head, **_summary(found[way.name])}
    if strip is not None:
        _stacked(pieces).save(strip, lossless=True)


def _tried(adapter: Any, case: Case, way: Way, full: np.ndarray, found: Found) -> np.ndarray:
    if way.schedule is not None:
        adapter._region_schedule = way.schedule
    is_cached = way.schedule is None
    spec = replace(case.spec, step_cache=is_cached, region_steps=not is_cached)
    picture, skipped = _run(adapter, spec)
    workload = adapter.workload(spec)
    config = adapter._pipeline.transformer.config
    blocks = config.num_layers + getattr(config, "num_single_layers", 0)
    computed = sum(workload.step_tokens(full=workload.is_full(step)) for step in range(workload.steps))
    saved = skipped / (workload.steps * workload.passes) * (1 - 1 / blocks)
    found.work.append(computed / (workload.tokens * workload.steps) - saved)
    found.region_steps.append(1 - workload.full_steps(0, workload.steps) / workload.steps)
    found.psnr.append(psnr(full, picture, case.inside))
    return picture


def psnr(one: np.ndarray, other: np.ndarray, inside: np.ndarray) -> float:
    """Of two pictures, (H, W, 3) in [0, 1], within (H, W) bool, in dB."""
    error = float(np.mean((one - other)[inside] ** 2))
    return IDENTICAL if error == 0 else min(IDENTICAL, -10 * float(np.log10(error)))


def _run(adapter: Any, spec: Spec) -> tuple[np.ndarray, int]:
    """The result before rounding, (H, W, 3) in [0, 1], and the number of cached steps."""
    state = adapter.prepare(spec)
    for _ in range(adapter.workload(spec).steps):
        adapter.denoise([state])
    skipped = adapter.skipped(state)
    pixels = adapter.decode_float(state)[0].permute(1, 2, 0).numpy()
    adapter.release(state)
    return np.clip(pixels * 0.5 + 0.5, 0, 1), skipped


def _shown(picture: np.ndarray, spec: Spec) -> np.ndarray:
    """The caller's view of a result: uint8, laid over the picture by the mask."""
    painted = (picture * 255).round().astype(np.uint8)
    original = spec.image if isinstance(spec, FillSpec) else spec.images[0]
    return painted if spec.mask is None else blend(painted, original, spec.mask[:, :, None])


def _summary(found: Found) -> dict[str, float]:
    return {
        "right": sum(found.right),
        "psnr_median": round(float(np.median(found.psnr)), 1),
        "psnr_worst_tenth": round(float(np.percentile(found.psnr, 10)), 1),
        "work": round(float(np.mean(found.work)), 3),
        "region_steps": round(float(np.mean(found.region_steps)), 2),
    }


def _adapter(models: Path, task: str, threshold: float) -> Any:
    folder = models / ("FLUX.1-Fill-dev" if task in FILL_CASES else "Qwen-Image-Edit-2509")
    options: dict[str, Any] = {
        "device": "cpu",
        "loras": {FAST_LORA: LoraFile(folder / "lora" / "fast.safetensors")},
        "runtime": RuntimeOptions(region_steps=not threshold, step_cache_threshold=threshold),
    }
    if task in FILL_CASES:
        return load_fill(folder, **options)
    return load_qwen(folder, reference_pixels=DEMO_REFERENCE_PIXELS, **options)


def _strip(full: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Full, region, and four times their difference, side by side."""
    return np.concatenate([full, region, np.clip(4 * np.abs(full - region), 0, 1)], axis=1)


def _stacked(pieces: Sequence[np.ndarray]) -> Image.Image:
    width = max(piece.shape[1] for piece in pieces)
    padded = [np.pad(p, ((0, 8), (0, width - p.shape[1]), (0, 0)), constant_values=1.0) for p in pieces]
    return Image.fromarray((np.concatenate(padded) * 255).round().astype(np.uint8))
