"""FLUX.1-Fill's adapter against diffusers' pipeline on a tiny real checkpoint."""

import asyncio
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux_fill import FluxFillPipeline
from PIL import Image

from imgedit.errors import InvalidArgument
from services.diffusion.networks import flow
from services.fill.model import FillState, load
from services.fill.spec import FillSpec
from tests.support.engine import box_mask, checkpoint, fill, fill_spec, finish, photo, with_engine


def pipeline_output(spec: FillSpec) -> torch.Tensor:
    """`FluxFillPipeline.__call__`'s result: (1, 3, H, W) before rounding, in [0, 1]."""
    parts = dict(fill()._pipeline.components)
    parts["scheduler"] = FlowMatchEulerDiscreteScheduler.from_pretrained(checkpoint("FLUX.1-Fill-dev") / "scheduler")
    pipeline = FluxFillPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    height, width, _ = spec.image.shape
    images: torch.Tensor = pipeline(
        prompt=spec.prompt,
        image=Image.fromarray(spec.image),
        mask_image=Image.fromarray((spec.mask > 0).astype(np.uint8) * 255),
        height=height,
        width=width,
        strength=spec.strength,
        num_inference_steps=spec.steps,
        guidance_scale=spec.guidance_scale,
        generator=torch.Generator().manual_seed(spec.seed),
        output_type="pt",
    ).images
    return images


def rounded(images: torch.Tensor) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] as the pipeline writes it to a PNG."""
    pixels: np.ndarray = (images[0].permute(1, 2, 0).numpy() * 255).round().astype("uint8")
    return pixels


def unit(pixels: torch.Tensor) -> torch.Tensor:
    return (pixels * 0.5 + 0.5).clamp(0, 1)


def run(spec: FillSpec) -> FillState:
    state = fill().prepare(spec)
    for _ in range(fill().plan(spec).steps):
        fill().denoise([state])
    return state


@pytest.mark.parametrize(
    "changes", [{}, {"strength": 0.8, "steps": 5}, {"strength": 0.3, "seed": 2**32 - 1}, {"steps": 1}]
)
def test_a_job_equals_the_diffusers_pipeline(changes: dict[str, Any]) -> None:
    spec = fill_spec(**changes)
    expected = pipeline_output(spec)
    assert torch.allclose(unit(fill().decode_float(run(spec))), expected, atol=1e-4)
    assert np.array_equal(fill().decode(run(spec)), rounded(expected))


def test_every_weight_above_zero_is_repainted() -> None:
    soft = np.where(box_mask() > 0, 3, 0).astype(np.uint8)
    assert np.array_equal(fill().decode(run(fill_spec(mask=soft))), fill().decode(run(fill_spec())))


def test_jobs_at_different_steps_share_a_batch_without_changing_each_other() -> None:
    specs = [
        fill_spec(seed=1),
        fill_spec(seed=2, prompt="a beach", guidance_scale=12.0, steps=6),
        fill_spec(strength=0.5),
    ]
    states = [fill().prepare(spec) for spec in specs]
    left = [fill().plan(spec).steps for spec in specs]
    fill().denoise([states[1]])
    left[1] -= 1
    while any(left):
        going = [index for index, steps in enumerate(left) if steps]
        fill().denoise([states[index] for index in going])
        left = [max(0, steps - 1) for steps in left]
    for state, spec in zip(states, specs, strict=True):
        assert torch.allclose(unit(fill().decode_float(state)), pipeline_output(spec), atol=1e-4)


def test_the_engine_gives_the_pipelines_pixels_alone_interleaved_and_batched() -> None:
    specs = [fill_spec(seed=1), fill_spec(seed=2, height=96, width=96, steps=3), fill_spec(seed=3, strength=0.6)]

    async def together(engine: Any) -> list[np.ndarray]:
        return [done.output for done in await asyncio.gather(*(finish(engine, spec) for spec in specs))]

    for output, spec in zip(with_engine(fill(), together), specs, strict=True):
        difference = output.astype(int) - rounded(pipeline_output(spec))
        assert abs(difference).max() <= 1


def test_a_cancelled_neighbour_leaves_no_trace() -> None:
    spec = fill_spec(seed=5)

    async def after_a_cancel(engine: Any) -> np.ndarray:
        events = engine.run(fill_spec(seed=6, steps=30))
        async for event in events:
            if getattr(event, "step", 0) == 2:
                break
        await events.aclose()
        output: np.ndarray = (await finish(engine, spec)).output
        return output

    assert np.array_equal(with_engine(fill(), after_a_cancel), rounded(pipeline_output(spec)))


def test_a_negative_prompt_is_a_second_pass_that_changes_the_picture() -> None:
    spec = fill_spec(negative_prompt="blurry", negative_scale=3.0, steps=2)
    assert fill().plan(spec).passes == 2
    state, plain = fill().prepare(spec), fill().prepare(fill_spec(steps=2))
    positive = fill()._velocity([state], [state.positive], "positive")
    assert state.negative is not None
    negative = fill()._velocity([state], [state.negative], "negative")
    expected = flow.euler_step(state.latents, negative + 3.0 * (positive - negative), state.sigmas[0], state.sigmas[1])
    fill().denoise([state])
    fill().denoise([plain])
    assert torch.allclose(state.latents, expected, atol=1e-4)
    assert not torch.allclose(state.latents, plain.latents, atol=1e-3)


def test_strength_zero_returns_the_inputs_pixels() -> None:
    spec = fill_spec(strength=0.0)
    done = with_engine(fill(), lambda engine: finish(engine, spec))
    assert np.array_equal(done.output, spec.image)
    assert done.steps_run == 0


def test_the_prompt_decides_the_picture() -> None:
    one, other = (fill().decode(run(fill_spec(prompt=prompt))) for prompt in ("a gym", "a beach at sunset"))
    assert not np.array_equal(one, other)


def test_no_global_random_state_is_touched() -> None:
    before = torch.random.get_rng_state()
    run(fill_spec())
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image": photo(64, 80)[:, :70], "mask": box_mask(64, 70)}, "image"),
        ({"mask": box_mask(64, 80)}, "mask"),
        ({"mask": np.zeros((64, 96), np.uint8)}, "mask"),
        ({"steps": 0}, "steps"),
        ({"strength": float("nan")}, "strength"),
        ({"strength": 1.1}, "strength"),
    ],
)
def test_a_spec_that_cannot_run_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        fill().plan(fill_spec(**changes))
    assert [violation.field for violation in caught.value.violations] == [field]


def test_previews_show_roughly_the_colours_of_the_picture() -> None:
    latents = fill()._encode_mode(torch.zeros(1, 3, 64, 64) + 0.5)
    rgb = latents[0].permute(1, 2, 0).numpy() @ fill().latent_rgb()[:-1] + fill().latent_rgb()[-1]
    assert rgb.shape == (8, 8, 3)
    assert np.isfinite(rgb).all()


def test_running_out_of_memory_is_recognised() -> None:
    assert fill().is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert fill().is_out_of_memory(caught.value)
    assert not fill().is_out_of_memory(RuntimeError("shape mismatch"))


def test_every_token_of_a_wide_picture_has_a_place_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []
    adapter = load(checkpoint("FLUX.1-Fill-dev"), device="cpu", dtype="bfloat16")
    forward = adapter._pipeline.transformer.forward

    def watched(**inputs: Any) -> Any:
        seen.append(torch.cat([inputs["txt_ids"], inputs["img_ids"]]))
        return forward(**inputs)

    monkeypatch.setattr(adapter._pipeline.transformer, "forward", watched)
    state = adapter.prepare(fill_spec(height=16, width=300 * 16, steps=1))
    adapter.denoise([state])
    assert len(seen[0][-300:].unique(dim=0)) == 300
