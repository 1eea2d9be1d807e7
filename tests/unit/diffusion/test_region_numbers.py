"""Region steps of both models on tiny checkpoints.

They compute the same numbers as a full step.
"""

import asyncio
import functools
import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel

from imgedit.errors import InvalidArgument
from services.diffusion.engine.region_steps import RegionSchedule, RegionSteps
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.diffusion.networks.token_region import TokenRegion
from services.fill.model import FillAdapter
from services.fill.model import load_fill as load_fill
from services.qwen_edit.model import QwenEditAdapter
from services.qwen_edit.model import load_qwen_edit as load_qwen
from tests.support.engine import (
    SMALL,
    checkpoint,
    fill,
    fill_spec,
    finish,
    photo,
    qwen,
    qwen_spec,
    with_engine,
    write_lora,
)

pytestmark = pytest.mark.slow

FLUX, QWEN = "FLUX.1-Fill-dev", "Qwen-Image-Edit-2509"
SPARSE = RuntimeOptions(region_steps=True)
NEVER = RegionSchedule(spacing=99, rim=0)
"""Only the first and the last step are full."""

ALWAYS = RegionSchedule(spacing=0, rim=0)


@functools.cache
def sparse_fill() -> FillAdapter:
    return load_fill(checkpoint(FLUX), device="cpu", runtime=SPARSE)


@functools.cache
def sparse_qwen() -> QwenEditAdapter:
    return load_qwen(checkpoint(QWEN), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=SPARSE)


@pytest.fixture(autouse=True)
def shipped_schedules() -> Any:
    """Restore the shipped schedule after each test."""
    adapters: list[Any] = [sparse_fill(), sparse_qwen()]
    shipped = [adapter._region_schedule for adapter in adapters]
    yield
    for adapter, schedule in zip(adapters, shipped, strict=True):
        adapter._region_schedule = schedule


def corner(height: int = 64, width: int = 96) -> np.ndarray:
    """White in a corner of one token."""
    mask = np.zeros((height, width), np.uint8)
    mask[:16, :16] = 255
    return mask


def random_mask(rng: random.Random, height: int, width: int) -> np.ndarray:
    """A box anywhere; never all of the picture."""
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.randrange(height - 16), rng.randrange(width - 16)
    mask[top : top + rng.randint(1, height // 2), left : left + rng.randint(1, width // 2)] = rng.randint(1, 255)
    return mask


def both(**changes: Any) -> list[tuple[Any, Any, Any]]:
    """(adapter with region steps, adapter without, spec) of each model.

    FLUX runs with and without a negative prompt, Qwen with and without a mask and guidance.
    """
    return [
        (sparse_fill(), fill(), fill_spec(mask=corner(), **changes)),
        (sparse_fill(), fill(), fill_spec(mask=corner(), negative_prompt="blurry", **changes)),
        (sparse_qwen(), qwen(), qwen_spec(mask=corner(), **changes)),
        (sparse_qwen(), qwen(), qwen_spec(**changes)),
        (sparse_qwen(), qwen(), qwen_spec(images=(photo(), photo(48, 80, 3)), negative_prompt=None, **changes)),
    ]


CASES = pytest.mark.parametrize("case", range(5))


def run(adapter: Any, spec: Any) -> Any:
    """The state behind the last step."""
    state = adapter.prepare(spec)
    for _ in range(adapter.workload(spec).steps):
        adapter.denoise([state])
    return state


def velocities(adapter: Any, state: Any) -> list[torch.Tensor]:
    """Of each pass of the next step, of the tokens that it computes."""
    with torch.inference_mode():
        found = [adapter._velocity([state], [state.positive], "positive")]
        if state.negative is not None:
            found.append(adapter._velocity([state], [state.negative], "negative"))
    return found


def as_step(state: Any, *, full: bool) -> None:
    """Make the next step of a job a full one before a region step, or a region step."""
    region: TokenRegion = state.tokens
    region.steps, region.done = RegionSteps((True, False, True), tokens=1, kept_bytes=1), 0 if full else 1


@CASES
def test_with_every_step_full_the_numbers_are_those_without_region_steps(case: int) -> None:
    sparse, plain, spec = both(steps=5)[case]
    sparse._region_schedule = ALWAYS
    asked = replace(spec, region_steps=True)
    assert sparse.workload(asked).region is None
    assert torch.equal(run(sparse, asked).latents, run(plain, spec).latents)


@CASES
def test_a_full_step_that_keeps_its_keys_has_the_same_numbers(case: int) -> None:
    sparse, plain, spec = both(steps=6)[case]
    sparse._region_schedule = NEVER
    one, other = sparse.prepare(replace(spec, region_steps=True)), plain.prepare(spec)
    sparse.denoise([one])
    plain.denoise([other])
    assert one.tokens.passes["positive"].blocks
    assert torch.equal(one.latents, other.latents)


@pytest.mark.parametrize("seed", range(6))
def test_a_region_step_on_keys_of_the_same_latents_equals_the_full_step_there(seed: int) -> None:
    rng = random.Random(seed)
    height, width = rng.choice([(64, 96), (32, 128), (96, 48)])
    mask, lengths = random_mask(rng, height, width), rng.choice(["short", "a prompt of quite a few more words"])
    options = {"steps": rng.randint(4, 9), "seed": seed, "prompt": lengths, "region_steps": True}
    specs: list[tuple[Any, Any]] = [
        (sparse_fill(), fill_spec(height=height, width=width, mask=mask, **options)),
        (
            sparse_qwen(),
            qwen_spec(images=(photo(height, width), photo(48, 64, 1))[: 1 + seed % 2], mask=mask, **options),
        ),
    ]
    for adapter, spec in specs:
        adapter._region_schedule = replace(NEVER, rim=seed % 3 == 0)
        state = adapter.prepare(spec)
        as_step(state, full=True)
        full = velocities(adapter, state)
        as_step(state, full=False)
        for whole, part in zip(full, velocities(adapter, state), strict=True):
            assert part.shape[1] == len(state.tokens.computed)
            assert torch.allclose(part, whole[:, state.tokens.computed], atol=1e-4)


@pytest.mark.parametrize("name", ["fill", "qwen"])
def test_a_region_step_of_every_token_equals_a_full_step(name: str) -> None:
    adapter: Any = sparse_fill() if name == "fill" else sparse_qwen()
    spec: Any = (fill_spec if name == "fill" else qwen_spec)(mask=corner(), region_steps=True, steps=6)
    adapter._region_schedule = NEVER
    state = adapter.prepare(spec)
    full = velocities(adapter, state)
    every = torch.arange(state.latents.shape[1])
    pictures = 0 if name == "fill" else state.pictures.shape[1]
    state.tokens = TokenRegion.from_steps(state.tokens.steps, every, len(every) + pictures, passes=2)
    as_step(state, full=True)
    velocities(adapter, state)
    as_step(state, full=False)
    for whole, part in zip(full, velocities(adapter, state), strict=True):
        assert torch.allclose(part, whole, atol=1e-4)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("name", ["fill", "qwen"])
def test_jobs_with_different_masks_share_a_batch_without_changing_each_other(name: str, joined: bool) -> None:
    adapter: Any = sparse_fill() if name == "fill" else sparse_qwen()
    make: Any = fill_spec if name == "fill" else qwen_spec
    masks = [corner(), np.roll(corner(), (32, 64), axis=(0, 1)), corner()[::-1, ::-1].copy()]
    prompts = ["a gym", "a beach with quite a few more words", "a gym"]
    adapter._region_schedule = NEVER
    specs = [
        make(mask=mask, prompt=prompt, seed=seed, negative_prompt="blurry", steps=5, region_steps=True)
        for seed, (mask, prompt) in enumerate(zip(masks, prompts, strict=True))
    ]
    states = [adapter.prepare(spec) for spec in specs]
    alone = [adapter.prepare(spec) for spec in specs]
    for state in [*states, *alone]:
        state.joined = joined
    for _ in range(5):
        adapter.denoise(states)
        for state in alone:
            adapter.denoise([state])
    for together, single in zip(states, alone, strict=True):
        assert torch.allclose(together.latents, single.latents, atol=1e-4)


def test_only_regions_of_one_size_share_a_batch() -> None:
    for adapter, make in ((sparse_fill(), fill_spec), (sparse_qwen(), qwen_spec)):
        adapter._region_schedule = NEVER
        keys = [
            adapter.workload(make(mask=mask, region_steps=asked, steps=6)).batch_key
            for mask, asked in [(corner(), True), (corner()[::-1].copy(), True), (corner(), False)]
        ]
        larger = corner()
        larger[:48, :64] = 255
        assert keys[0] == keys[1] != keys[2]
        assert adapter.workload(make(mask=larger, region_steps=True, steps=6)).batch_key not in keys


@CASES
def test_outside_the_region_the_last_full_velocity_is_used_again(case: int) -> None:
    sparse, _, spec = both(steps=6)[case]
    sparse._region_schedule = NEVER
    state = sparse.prepare(replace(spec, region_steps=True))
    sparse.denoise([state])
    kept = state.tokens.velocity
    outside = torch.ones(state.latents.shape[1], dtype=torch.bool)
    outside[state.tokens.computed] = False
    before = state.latents
    sparse.denoise([state])
    step = state.sigmas[2] - state.sigmas[1]
    expected = before + step * kept
    if getattr(state, "region", None) is not None:
        expected = state.region.hold(expected, state.sigmas[2])
    assert torch.allclose(state.latents[:, outside], expected[:, outside], atol=1e-5)


@CASES
def test_nothing_is_kept_behind_the_last_step_and_as_much_as_planned_before_it(case: int) -> None:
    sparse, _, spec = both(steps=6)[case]
    sparse._region_schedule = NEVER
    asked = replace(spec, region_steps=True)
    state = sparse.prepare(asked)
    sparse.denoise([state])
    kept = [tensor for keys in state.tokens.passes.values() for pair in keys.blocks for tensor in pair]
    assert sum(tensor.nbytes for tensor in kept) == sparse.workload(asked).kept_bytes
    for _ in range(5):
        sparse.denoise([state])
    assert not any(keys.blocks for keys in state.tokens.passes.values())


def test_a_lora_goes_with_region_steps(tmp_path: Path) -> None:
    transformer = FluxTransformer2DModel.from_pretrained(checkpoint(FLUX) / "transformer")
    with torch.random.fork_rng(devices=[]):
        file = LoraFile(write_lora(tmp_path, transformer))
    adapter = load_fill(checkpoint(FLUX), device="cpu", loras={"turbo": file}, runtime=SPARSE)
    state = adapter.prepare(fill_spec(mask=corner(), steps=6, lora="turbo", region_steps=True))
    as_step(state, full=True)
    full = velocities(adapter, state)[0]
    as_step(state, full=False)
    assert torch.allclose(velocities(adapter, state)[0], full[:, state.tokens.computed], atol=1e-4)  # type: ignore[union-attr]
    other = replace(fill_spec(mask=corner(), steps=6), region_steps=True)
    assert not torch.allclose(velocities(adapter, adapter.prepare(other))[0], full, atol=1e-2)


@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_offloading_changes_no_number_of_region_steps(offload: Any) -> None:
    runtime = RuntimeOptions(region_steps=True, offload=offload)
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=runtime)
    spec = fill_spec(mask=corner(), steps=6, region_steps=True)
    assert torch.equal(run(adapter, spec).latents, run(sparse_fill(), spec).latents)


def test_the_newer_qwen_modulates_the_pictures_as_noiseless_in_region_steps_too(tmp_path: Path) -> None:
    folder = tmp_path / "Qwen-Image-Edit-2511"
    shutil.copytree(checkpoint(QWEN), folder)
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "zero_cond_t": True}))
    adapter = load_qwen(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=SPARSE)
    assert adapter.name == "Qwen-Image-Edit-2511"
    state = adapter.prepare(qwen_spec(mask=corner(), steps=6, region_steps=True))
    as_step(state, full=True)
    full = velocities(adapter, state)
    as_step(state, full=False)
    for whole, part in zip(full, velocities(adapter, state), strict=True):
        assert torch.allclose(part, whole[:, state.tokens.computed], atol=1e-4)  # type: ignore[union-attr]


def test_a_mask_of_everything_has_no_region_steps() -> None:
    white = np.full((64, 96), 255, np.uint8)
    assert sparse_fill().workload(fill_spec(mask=white, steps=12, region_steps=True)).region is None
    region = sparse_qwen().workload(qwen_spec(mask=white, steps=12, region_steps=True)).region
    assert region is not None  # the input picture's keys can still be kept


def test_a_job_that_would_keep_too_much_runs_full_steps_and_says_so() -> None:
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(region_steps=True, region_bytes=1))
    spec = fill_spec(mask=corner(), steps=6, region_steps=True)
    assert adapter.workload(spec).region is None
    assert "region_steps: every step computed every token" in adapter.warnings(spec)[-1].english
    assert not any("region_steps" in warning.english for warning in sparse_fill().warnings(spec))
    done = with_engine(adapter, lambda engine: finish(engine, spec))
    assert done.full_steps == done.steps_run == 6
    assert np.array_equal(done.output, fill().decode(run(fill(), replace(spec, region_steps=False))))


def test_region_steps_are_refused_where_they_are_turned_off() -> None:
    for adapter, spec in ((fill(), fill_spec(region_steps=True)), (qwen(), qwen_spec(region_steps=True))):
        with pytest.raises(InvalidArgument, match="region_steps"):
            adapter.workload(spec)  # type: ignore[arg-type]


def test_jobs_that_are_cancelled_or_fail_once_leave_the_others_as_they_are() -> None:
    adapter = sparse_fill()
    specs = [fill_spec(mask=corner(), steps=7, seed=seed, region_steps=True) for seed in range(2)]
    expected = [adapter.decode(run(adapter, spec)) for spec in specs]
    calls = 0

    def fail_once(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    async def scenario(engine: Any) -> list[np.ndarray]:
        events = engine.run_job(fill_spec(mask=corner(), steps=60, seed=9, region_steps=True))
        async for event in events:
            if getattr(event, "step", 0) == 3:
                break
        others = [asyncio.ensure_future(finish(engine, spec)) for spec in specs]
        await events.aclose()
        return [(await other).output for other in others]

    hook = adapter._pipeline.transformer.single_transformer_blocks[0].register_forward_pre_hook(fail_once)
    outputs = with_engine(adapter, scenario, max_kept_bytes=10**9)
    hook.remove()
    for output, alone in zip(outputs, expected, strict=True):
        assert abs(output.astype(int) - alone).max() <= 1
