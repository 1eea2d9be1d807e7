"""Guidance: its two passes in one forward or in turn give the same numbers."""

import functools
from typing import Any

import numpy as np
import pytest
import torch

from services.diffusion.networks.guidance import SMALL_TOKENS, CfgBatch, extrapolated, joins_passes
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import load as load_fill
from services.qwen_edit.model import load as load_qwen
from tests.support.engine import SMALL, checkpoint, fill_spec, photo, qwen_spec

pytestmark = pytest.mark.slow

AWAY = {"negative_prompt": "blurry, low quality, distorted", "negative_scale": 3.0}
LONG = {"negative_prompt": "blurry, low quality, distorted, ugly, deformed, and much else besides"}


@functools.cache
def model(name: str, **runtime: Any) -> Any:
    if name == "fill":
        return load_fill(checkpoint("FLUX.1-Fill-dev"), device="cpu", runtime=RuntimeOptions(**runtime))
    folder = checkpoint("Qwen-Image-Edit-2509")
    return load_qwen(
        folder,
        device="cpu",
        reference_pixels=SMALL,
        condition_pixels=SMALL,
        cache_bytes=0,
        runtime=RuntimeOptions(**runtime),
    )


def forwards(adapter: Any, *specs: Any) -> list[int]:
    """The batch sizes of the forwards of one step over these jobs."""
    sizes: list[int] = []

    def note(_: Any, __: Any, inputs: dict[str, Any]) -> None:
        sizes.append(len(inputs["hidden_states"]))

    states = [adapter.prepare(spec) for spec in specs]
    hook = adapter._pipeline.transformer.register_forward_pre_hook(note, with_kwargs=True)
    adapter.denoise(states)
    hook.remove()
    return sizes


def painted(adapter: Any, spec: Any) -> torch.Tensor:
    state = adapter.prepare(spec)
    for _ in range(adapter.plan(spec).steps):
        adapter.denoise([state])
    pixels: torch.Tensor = adapter.decode_float(state)
    adapter.release(state)
    return pixels


CASES = [("fill", fill_spec(**AWAY)), ("qwen", qwen_spec(**LONG)), ("qwen", qwen_spec(images=(photo(), photo(seed=1))))]


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_one_forward_and_two_give_the_same_picture(name: str, spec: Any) -> None:
    joined, in_turn = (painted(model(name, cfg_batch=mode), spec) for mode in ("on", "off"))
    assert torch.allclose(joined, in_turn, atol=1e-4)


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_alone_a_job_gives_the_same_bits_every_time(name: str, spec: Any) -> None:
    adapter = model(name, cfg_batch="on")
    assert torch.equal(painted(adapter, spec), painted(adapter, spec))


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_the_setting_decides_how_many_forwards_a_step_takes(name: str, spec: Any) -> None:
    assert forwards(model(name, cfg_batch="on"), spec) == [2]
    assert forwards(model(name, cfg_batch="off"), spec) == [1, 1]
    assert forwards(model(name), spec) == [2]
    assert model(name).plan(spec).passes == 2


def test_a_batch_of_jobs_joins_their_passes_too() -> None:
    specs = [fill_spec(seed=1, **AWAY), fill_spec(seed=2, **AWAY)]
    adapter = model("fill", cfg_batch="on")
    assert forwards(adapter, *specs) == [4]
    states = [adapter.prepare(spec) for spec in specs]
    for _ in range(4):
        adapter.denoise(states)
    for state, spec in zip(states, specs, strict=True):
        assert torch.allclose(adapter.decode_float(state), painted(model("fill", cfg_batch="off"), spec), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("fill", fill_spec()),
        ("fill", fill_spec(negative_prompt="blurry", negative_scale=1.0)),
        ("qwen", qwen_spec(true_cfg_scale=1.0)),
    ],
)
def test_without_guidance_there_is_no_second_pass(name: str, spec: Any) -> None:
    assert model(name).plan(spec).passes == 1
    assert forwards(model(name, cfg_batch="on"), spec) == [1]


def test_a_guidance_of_one_gives_the_picture_without_a_negative_prompt() -> None:
    plain, away = fill_spec(), fill_spec(negative_prompt="blurry", negative_scale=1.0)
    assert np.array_equal(painted(model("fill"), plain), painted(model("fill"), away))


def test_a_job_with_a_step_cache_keeps_its_passes_apart() -> None:
    adapter = model("fill", cfg_batch="on", step_cache_threshold=0.5)
    spec = fill_spec(step_cache=True, **AWAY)
    assert forwards(adapter, spec) == [1, 1]
    assert {name.split(":")[1] for name in adapter._network._memory} == {"positive", "negative"}


@pytest.mark.parametrize(
    ("mode", "tokens", "expected"),
    [
        ("auto", SMALL_TOKENS - 1, True),
        ("auto", SMALL_TOKENS, False),
        ("on", 100_000, True),
        ("off", 1, False),
    ],
)
def test_auto_goes_by_the_size_of_the_job_alone(mode: CfgBatch, tokens: int, expected: bool) -> None:
    assert joins_passes(mode, tokens, passes=2, step_cache=False) is expected
    assert not joins_passes(mode, tokens, passes=1, step_cache=False)
    assert not joins_passes(mode, tokens, passes=2, step_cache=True)


def test_an_attention_backend_that_may_take_no_mask_keeps_qwens_passes_apart() -> None:
    assert forwards(model("qwen", attention="_native_math"), qwen_spec(**LONG)) == [1, 1]
    assert forwards(model("fill", attention="_native_math"), fill_spec(**AWAY)) == [2]


@pytest.mark.parametrize("scale", [3.3, 4.0, 7.77])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_scale_is_not_rounded_to_half_precision(scale: float, dtype: torch.dtype) -> None:
    noise = torch.Generator().manual_seed(1)
    cond, uncond = (torch.randn(2, 64, 16, generator=noise).to(dtype) for _ in range(2))
    scales = torch.tensor([scale, 1.0])[:, None, None]
    found = extrapolated(cond, uncond, scales)
    assert found.dtype == dtype
    assert torch.equal(found[0], uncond[0] + scale * (cond[0] - uncond[0]))  # as diffusers' pipelines have it
    assert torch.equal(found[1], uncond[1] + 1.0 * (cond[1] - uncond[1]))
