"""Qwen-Image-Edit's adapter against diffusers' pipeline on a tiny real checkpoint."""

import asyncio
import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLQwenImage, FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as published
from PIL import Image

from imgedit.errors import InvalidArgument
from services.diffusion.networks import flow
from services.diffusion.networks.guidance import CfgBatch
from services.diffusion.networks.runtime_options import RuntimeOptions
from services.qwen_edit.conditioning import size_for
from services.qwen_edit.model import QwenEditAdapter, QwenEditState, load
from services.qwen_edit.spec import QwenEditSpec
from tests.support.engine import SMALL, checkpoint, finish, photo, placed, qwen, qwen_spec, with_engine

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pipeline's areas are module constants; ours are arguments of the adapter."""
    monkeypatch.setattr(published, "VAE_IMAGE_SIZE", SMALL)
    monkeypatch.setattr(published, "CONDITION_IMAGE_SIZE", SMALL)


def pipeline_output(spec: QwenEditSpec, adapter: QwenEditAdapter | None = None) -> torch.Tensor:
    """The pipeline's result for the spec: (1, 3, H, W) before rounding, in [0, 1]."""
    parts = dict((adapter or qwen())._pipeline.components)
    folder = checkpoint("Qwen-Image-Edit-2509")
    parts["scheduler"] = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    parts["vae"] = AutoencoderKLQwenImage.from_pretrained(folder / "vae")  # ours has 2-D convolutions
    pipeline = published.QwenImageEditPlusPipeline(**parts)
    pipeline.set_progress_bar_config(disable=True)
    height, width, _ = spec.images[0].shape
    with placed(pipeline.text_encoder):
        images: torch.Tensor = pipeline(
            image=[Image.fromarray(image) for image in spec.images],
            prompt=spec.prompt,
            negative_prompt=spec.negative_prompt,
            true_cfg_scale=spec.true_cfg_scale,
            height=height,
            width=width,
            num_inference_steps=spec.steps,
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


@functools.cache
def adapters() -> dict[CfgBatch, QwenEditAdapter]:
    """The model with both passes in one forward (the default), and in turn."""
    folder = checkpoint("Qwen-Image-Edit-2509")
    in_turn = load(
        folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL, runtime=RuntimeOptions(cfg_batch="off")
    )
    return {"auto": qwen(), "off": in_turn}


def run(spec: QwenEditSpec, adapter: QwenEditAdapter | None = None) -> QwenEditState:
    model = adapter or qwen()
    state = model.prepare(spec)
    for _ in range(model.plan(spec).steps):
        model.denoise([state])
    return state


def largest_difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(abs(one.astype(int) - other).max())


THREE = (photo(64, 96, seed=1), photo(96, 64, seed=2), photo(80, 80, seed=3))
ODD = (photo(96, 64, seed=4), photo(48, 32, seed=5)[:41, :29], photo(160, 224, seed=6)[:151, :223])
"""The references are smaller and larger than the area at which the model looks; no side is a multiple of anything."""

CASES: list[dict[str, Any]] = [
    {},
    {"negative_prompt": ""},
    {"negative_prompt": "blurry, low quality", "true_cfg_scale": 7.5, "seed": 2**32 - 1},
    {"negative_prompt": "흐릿함, 왜곡", "true_cfg_scale": 1.01, "steps": 7},
    {"true_cfg_scale": 1.0},
    {"negative_prompt": None},
    {"images": THREE[:2], "prompt": "Picture 1의 사람에게 Picture 2의 옷을 입혀줘"},
    {"images": THREE, "steps": 3},
    {"images": ODD[:2], "negative_prompt": "blurry", "steps": 2},
    {"images": ODD, "true_cfg_scale": 3.5, "steps": 2},
    {"images": ODD, "negative_prompt": None, "steps": 2},
]


@pytest.mark.parametrize("cfg_batch", ["auto", "off"])
@pytest.mark.parametrize("changes", CASES)
def test_a_job_equals_the_diffusers_pipeline(changes: dict[str, Any], cfg_batch: CfgBatch) -> None:
    spec, adapter = qwen_spec(**changes), adapters()[cfg_batch]
    expected = pipeline_output(spec)
    state = run(spec, adapter)
    assert torch.allclose(unit(adapter.decode_float(state)), expected, atol=1e-4)
    assert largest_difference(adapter.decode(state), rounded(expected)) <= 1  # other kernels, other rounding


@pytest.fixture(scope="module")
def newer(tmp_path_factory: pytest.TempPathFactory) -> QwenEditAdapter:
    """The model as a Qwen-Image-Edit-2511 checkpoint, whose inputs count as noiseless."""
    folder = Path(shutil.copytree(checkpoint("Qwen-Image-Edit-2509"), tmp_path_factory.mktemp("newer") / "any-name"))
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "zero_cond_t": True}))
    return load(folder, device="cpu", reference_pixels=SMALL, condition_pixels=SMALL)


def test_the_models_name_is_that_of_the_checkpoint(newer: QwenEditAdapter) -> None:
    assert (newer.name, qwen().name) == ("Qwen-Image-Edit-2511", "Qwen-Image-Edit-2509")


@pytest.mark.parametrize("changes", [{}, {"images": ODD[:2], "steps": 3}, {"images": THREE, "negative_prompt": None}])
def test_a_job_of_the_newer_model_equals_the_diffusers_pipeline(
    changes: dict[str, Any], newer: QwenEditAdapter
) -> None:
    spec = qwen_spec(**changes)
    found = unit(newer.decode_float(run(spec, newer)))
    assert torch.allclose(found, pipeline_output(spec, newer), atol=1e-4)
    assert not torch.allclose(found, pipeline_output(spec), atol=1e-4)


def test_jobs_of_the_newer_model_share_a_batch(newer: QwenEditAdapter) -> None:
    specs = [qwen_spec(seed=1), qwen_spec(seed=2, prompt="make the sky purple, and add a small boat")]
    states = [newer.prepare(spec) for spec in specs]
    for _ in range(4):
        newer.denoise(states)
    for state, spec in zip(states, specs, strict=True):
        assert torch.allclose(unit(newer.decode_float(state)), pipeline_output(spec, newer), atol=1e-4)


def test_jobs_at_different_steps_with_prompts_of_different_length_share_a_batch() -> None:
    specs = [qwen_spec(seed=1), qwen_spec(seed=2, prompt="make the sky purple, and add a small boat", steps=6)]
    states = [qwen().prepare(spec) for spec in specs]
    for _ in range(2):
        qwen().denoise([states[1]])
    for _ in range(4):
        qwen().denoise(states)
    for state, spec in zip(states, specs, strict=True):
        assert torch.allclose(unit(qwen().decode_float(state)), pipeline_output(spec), atol=1e-4)


def test_jobs_that_take_turns_step_by_step_equal_the_pipeline_each() -> None:
    specs = [qwen_spec(**{"seed": number, **changes}) for number, changes in enumerate(CASES)]
    states = [qwen().prepare(spec) for spec in specs]
    for turn in range(max(spec.steps for spec in specs)):
        for state, spec in zip(states, specs, strict=True):
            if turn < spec.steps:
                qwen().denoise([state])
    for state, spec in zip(states, specs, strict=True):
        assert torch.allclose(unit(qwen().decode_float(state)), pipeline_output(spec), atol=1e-4)


def test_the_engine_gives_the_pipelines_pixels_for_jobs_that_run_interleaved() -> None:
    specs = [qwen_spec(**{"seed": number, **changes}) for number, changes in enumerate(CASES)]
    extra = [qwen_spec(strength=0.5, seed=50), qwen_spec(images=(photo(32, 48),), seed=51)]

    async def together(engine: Any) -> list[np.ndarray]:
        return [done.output for done in await asyncio.gather(*(finish(engine, spec) for spec in (*specs, *extra)))]

    for output, spec in zip(with_engine(qwen(), together), specs, strict=False):
        assert largest_difference(output, rounded(pipeline_output(spec))) <= 1


def test_strength_starts_from_the_noised_first_picture() -> None:
    spec = qwen_spec(strength=0.5, steps=4)
    state = qwen().prepare(spec)
    plain = qwen().prepare(qwen_spec(steps=4))
    assert qwen().plan(spec).steps == 2
    clean = qwen()._conditioner.pictures(spec.images)[0]
    noise = flow.unpack(plain.latents, 8, 12)
    assert torch.allclose(flow.unpack(state.latents, 8, 12), flow.noised(clean, noise, state.sigmas[2]))


def test_less_strength_stays_closer_to_the_picture() -> None:
    spec = qwen_spec(steps=10, true_cfg_scale=1.0)
    clean = flow.pack(qwen()._conditioner.pictures(spec.images)[0])
    states = [run(qwen_spec(steps=10, true_cfg_scale=1.0, strength=strength)) for strength in (0.2, 0.6, 1.0)]
    distances = [float((state.latents - clean).abs().mean()) for state in states]
    assert distances == sorted(distances)


def test_strength_zero_returns_the_first_pictures_pixels() -> None:
    done = with_engine(qwen(), lambda engine: finish(engine, qwen_spec(images=THREE, strength=0.0)))
    assert np.array_equal(done.output, THREE[0])


def test_the_answer_has_the_first_pictures_size_and_references_may_have_any() -> None:
    spec = qwen_spec(images=(photo(48, 112), photo(96, 64)[:77, :33]), steps=1)
    assert qwen().decode(run(spec)).shape == (48, 112, 3)


def test_one_step_gives_a_picture() -> None:
    """The published schedule divides zero by zero here."""
    assert torch.isfinite(qwen().decode_float(run(qwen_spec(steps=1)))).all()


def test_the_prompt_and_the_reference_picture_decide_the_picture() -> None:
    pictures = [
        qwen().decode(run(spec))
        for spec in (qwen_spec(), qwen_spec(prompt="하늘을 밤으로"), qwen_spec(images=THREE[:2]))
    ]
    assert not np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize(
    ("area", "size", "expected"), [(1024**2, (100, 100), (1024, 1024)), (384**2, (600, 8000), (96, 1408))]
)
def test_encoding_sizes_keep_the_aspect(area: int, size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert size_for(area, np.zeros((*size, 3), np.uint8)) == expected


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"images": ()}, "images"),
        ({"images": (photo(),) * 4}, "images"),
        ({"images": (photo()[:50],)}, "images[0]"),
        ({"images": (photo(), np.zeros((0, 5, 3), np.uint8))}, "images[1]"),
        ({"steps": 0}, "steps"),
        ({"strength": -0.1}, "strength"),
    ],
)
def test_a_spec_that_cannot_run_is_refused_by_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        qwen().plan(qwen_spec(**changes))
    assert [violation.field for violation in caught.value.violations] == [field]
