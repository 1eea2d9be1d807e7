"""LoRAs, step cache and memory settings change only their own jobs."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxTransformer2DModel
from prometheus_client import REGISTRY

from imgedit.errors import InvalidArgument, ModelLoadError, OutOfMemory, SettingsError
from services.diffusion.networks.lora import LoraFile
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.fill.model import FillAdapter
from services.fill.model import load as load_fill
from services.fill.spec import FillSpec
from services.qwen_edit.model import load as load_qwen
from tests.support.engine import (
    SMALL,
    checkpoint,
    fill,
    fill_spec,
    finish,
    qwen,
    qwen_spec,
    with_engine,
    write_lora,
)

pytestmark = pytest.mark.slow

FLUX = "FLUX.1-Fill-dev"
QWEN = "Qwen-Image-Edit-2509"


@pytest.fixture(scope="module")
def flux_lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformer = FluxTransformer2DModel.from_pretrained(checkpoint(FLUX) / "transformer")
    with torch.random.fork_rng(devices=[]):
        return write_lora(tmp_path_factory.mktemp("lora"), transformer)


@pytest.fixture(scope="module")
def with_lora(flux_lora: Path) -> FillAdapter:
    return load_fill(checkpoint(FLUX), device="cpu", loras={"turbo": LoraFile(flux_lora)})


@pytest.fixture(scope="module")
def with_cache() -> FillAdapter:
    return load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(step_cache_threshold=0.5))


def pictures(adapter: Any, *specs: Any) -> list[np.ndarray]:
    """The answers to specs that are in the engine at the same time."""

    async def together(engine: Any) -> list[np.ndarray]:
        return [done.output for done in await asyncio.gather(*(finish(engine, spec) for spec in specs))]

    outputs: list[np.ndarray] = with_engine(adapter, together)
    return outputs


def skips() -> float:
    return REGISTRY.get_sample_value("imgedit_engine_step_cache_skips_total", {"service": "fill"}) or 0.0


def test_a_lora_changes_its_own_jobs_and_no_others(with_lora: FillAdapter) -> None:
    plain = pictures(fill(), fill_spec())[0]
    alone = pictures(with_lora, fill_spec(lora="turbo"))[0]
    assert not np.array_equal(alone, plain)
    interleaved = pictures(with_lora, fill_spec(lora="turbo"), fill_spec(), fill_spec(lora="turbo"), fill_spec())
    for output, expected in zip(interleaved, [alone, plain, alone, plain], strict=True):
        assert abs(output.astype(int) - expected).max() <= 1


def test_a_lora_that_is_off_leaves_the_numbers_bit_equal(with_lora: FillAdapter) -> None:
    before = pictures(with_lora, fill_spec())[0]
    pictures(with_lora, fill_spec(lora="turbo"))
    assert np.array_equal(pictures(with_lora, fill_spec())[0], before)
    assert np.array_equal(before, pictures(fill(), fill_spec())[0])


def test_loading_and_unloading_a_lora_leaves_the_base_weights_bit_equal(flux_lora: Path) -> None:
    adapter = load_fill(checkpoint(FLUX), device="cpu", loras={"turbo": LoraFile(flux_lora)})
    adapter._pipeline.unload_lora_weights()
    untouched = fill()._pipeline.transformer.state_dict()
    for name, tensor in adapter._pipeline.transformer.state_dict().items():
        assert torch.equal(tensor, untouched[name]), name


def test_jobs_with_different_loras_never_share_a_batch(with_lora: FillAdapter) -> None:
    assert with_lora.plan(fill_spec()).batch_key != with_lora.plan(fill_spec(lora="turbo")).batch_key


def test_a_lora_that_is_not_loaded_is_refused(with_lora: FillAdapter) -> None:
    with pytest.raises(InvalidArgument, match="turbo"):
        with_lora.plan(fill_spec(lora="lightning"))


def test_a_file_that_is_no_lora_is_refused(tmp_path: Path) -> None:
    weights = checkpoint(FLUX) / "vae" / "diffusion_pytorch_model.safetensors"
    for path in (tmp_path / "missing.safetensors", checkpoint(FLUX) / "model_index.json", weights):
        with pytest.raises(ModelLoadError, match=path.name):
            load_fill(checkpoint(FLUX), device="cpu", loras={"x": LoraFile(path)})


def test_the_step_cache_skips_steps_and_stays_close(with_cache: FillAdapter) -> None:
    before = skips()
    cached = pictures(with_cache, fill_spec(steps=12, step_cache=True))[0]
    assert skips() > before
    full = pictures(fill(), fill_spec(steps=12))[0]
    assert not np.array_equal(cached, full)
    assert abs(cached.astype(int) - full).mean() < 20


def test_cached_jobs_of_different_shapes_interleave_as_if_alone(with_cache: FillAdapter) -> None:
    specs = [
        fill_spec(steps=8, seed=1, step_cache=True),
        fill_spec(steps=6, seed=2, height=96, step_cache=True, negative_prompt="blurry"),
        fill_spec(steps=8, seed=3),
    ]
    alone = [pictures(with_cache, spec)[0] for spec in specs]
    for together, expected in zip(pictures(with_cache, *specs), alone, strict=True):
        assert np.array_equal(together, expected)
    assert np.array_equal(alone[2], pictures(fill(), specs[2])[0])


@pytest.mark.parametrize("error", [ValueError("a bug"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_cancelled_or_failed_cached_job_leaves_no_memory(with_cache: FillAdapter, error: Exception) -> None:
    spec = fill_spec(steps=8, step_cache=True)
    expected = pictures(with_cache, spec)[0]

    def fail(*_: Any) -> None:
        raise error

    async def scenario(engine: Any) -> np.ndarray:
        events = engine.run(fill_spec(steps=40, seed=9, step_cache=True))
        async for event in events:
            if getattr(event, "step", 0) == 3:
                break
        await events.aclose()
        broken = with_cache._pipeline.transformer.single_transformer_blocks[0].register_forward_pre_hook(fail)
        with pytest.raises(ValueError if isinstance(error, ValueError) else OutOfMemory):
            await finish(engine, fill_spec(steps=8, seed=10, step_cache=True))
        broken.remove()
        output: np.ndarray = (await finish(engine, spec)).output
        return output

    assert np.array_equal(with_engine(with_cache, scenario), expected)
    assert not with_cache._network._memory


def test_a_cached_job_that_ran_out_of_memory_once_begins_its_cache_anew(with_cache: FillAdapter) -> None:
    spec = fill_spec(steps=8, step_cache=True, negative_prompt="blurry")
    expected = pictures(with_cache, spec)[0]
    calls = 0

    def fail_once(*_: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise torch.OutOfMemoryError("CUDA out of memory")

    hook = with_cache._pipeline.transformer.single_transformer_blocks[0].register_forward_pre_hook(fail_once)
    retried = pictures(with_cache, spec)[0]
    hook.remove()
    assert calls > 4
    assert abs(retried.astype(int) - expected).mean() < 20  # other steps may be skipped
    assert not with_cache._network._memory


def test_a_cached_job_runs_unbatched(with_cache: FillAdapter) -> None:
    assert with_cache.plan(fill_spec(step_cache=True)).batch_key is None


def test_the_step_cache_is_refused_where_it_is_off() -> None:
    with pytest.raises(InvalidArgument, match="step cache"):
        fill().plan(fill_spec(step_cache=True))


@pytest.mark.parametrize("offload", ["model", "group", "sequential"])
def test_offloading_changes_no_pixel(offload: Any) -> None:
    specs: list[FillSpec] = [fill_spec(seed=1), fill_spec(seed=2, height=96)]
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(offload=offload))
    for output, expected in zip(pictures(adapter, *specs), pictures(fill(), *specs), strict=True):
        assert np.array_equal(output, expected)


def test_offloading_changes_no_pixel_of_qwen() -> None:
    runtime = RuntimeOptions(offload="sequential")
    adapter = load_qwen(checkpoint(QWEN), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=runtime)
    assert np.array_equal(pictures(adapter, qwen_spec())[0], pictures(qwen(), qwen_spec())[0])


def test_with_model_offload_one_network_at_a_time_is_present() -> None:
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(offload="model"))
    present = adapter._pipeline.vae._hf_hook._present
    state = adapter.prepare(fill_spec())
    assert list(present) == [adapter._pipeline.vae]
    adapter.denoise([state])
    assert list(present) == [adapter._pipeline.transformer]


def test_tiling_is_for_large_pictures_and_leaves_small_ones_alone() -> None:
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(vae_tiling=True))
    assert adapter._pipeline.vae.use_tiling
    assert np.array_equal(pictures(adapter, fill_spec())[0], pictures(fill(), fill_spec())[0])


@pytest.mark.parametrize("name", ["fill", "qwen"])
def test_slicing_takes_a_batch_through_the_vae_one_by_one_and_changes_no_pixel(name: str) -> None:
    runtime = RuntimeOptions(vae_slicing=True)
    if name == "fill":
        adapter: Any = load_fill(checkpoint(FLUX), device="cpu", runtime=runtime)
        spec, plain = fill_spec(), fill()
        latents = torch.randn(3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    else:
        adapter = load_qwen(
            checkpoint(QWEN), device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=runtime
        )
        spec, plain = qwen_spec(), qwen()
        latents = torch.randn(3, 16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    assert np.array_equal(pictures(adapter, spec)[0], pictures(plain, spec)[0])
    sizes: list[int] = []
    hook = adapter._pipeline.vae.decoder.register_forward_pre_hook(lambda _, x: sizes.append(len(x[0])))
    with torch.inference_mode():
        adapter._pipeline.vae.decode(latents)
    hook.remove()
    assert sizes == [1, 1, 1]


def test_the_attention_backend_is_a_setting_and_a_wrong_one_is_named() -> None:
    adapter = load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(attention="_native_math"))
    difference = pictures(adapter, fill_spec())[0].astype(int) - pictures(fill(), fill_spec())[0]
    assert abs(difference).max() <= 1
    with pytest.raises(SettingsError, match="abacus"):
        load_fill(checkpoint(FLUX), device="cpu", runtime=RuntimeOptions(attention="abacus"))
