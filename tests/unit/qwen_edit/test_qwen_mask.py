"""Qwen-Image-Edit's mask: kept pixels, changed pixels, and rejected masks."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from imgedit.errors import InvalidArgument
from services.diffusion.networks import flow
from services.qwen_edit.latent_mask import latents_inside
from services.qwen_edit.model import QwenEditState
from tests.support.engine import box_mask, finish, photo, qwen, qwen_spec, with_engine

WHITE = np.full((64, 96), 255, np.uint8)


def run(**changes: Any) -> QwenEditState:
    spec = qwen_spec(**changes)
    state = qwen().prepare(spec)
    for _ in range(qwen().plan(spec).steps):
        qwen().denoise([state])
    return state


def edited(**changes: Any) -> NDArray[np.uint8]:
    return qwen().decode(run(**changes))


def odd_mask() -> NDArray[np.uint8]:
    """A white region whose border follows no multiple of 8, with a grey rim."""
    rows, columns = np.mgrid[:64, :96]
    distance = np.hypot(rows - 30.5, columns - 41.3)
    mask: NDArray[np.uint8] = np.clip((23 - distance) * 40, 0, 255).astype(np.uint8)
    return mask


@pytest.mark.parametrize("mask", [box_mask(), odd_mask()], ids=["box", "odd"])
@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_pixels_outside_the_mask_are_untouched_and_those_inside_are_the_models(
    mask: NDArray[np.uint8], strength: float
) -> None:
    painted = edited(mask=mask, strength=strength)
    assert np.array_equal(painted[mask == 0], photo()[mask == 0])
    model = qwen().decode_float(run(mask=mask, strength=strength))[0].permute(1, 2, 0)
    model_pixels = ((model * 0.5 + 0.5).clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    assert np.array_equal(painted[mask == 255], model_pixels[mask == 255])
    assert (painted != photo())[mask == 255].mean() > 0.5


def test_grey_is_a_blend_of_picture_and_edit() -> None:
    grey = np.full((64, 96), 102, np.uint8)
    blended, whole = edited(mask=grey).astype(float), edited().astype(float)
    assert abs(blended - (0.4 * whole + 0.6 * photo())).max() <= 0.5 + 1e-6


def test_a_mask_that_is_white_all_over_equals_none() -> None:
    for changes in ({}, {"strength": 0.6}, {"negative_prompt": None}):
        masked, plain = run(mask=WHITE, **changes), run(**changes)
        assert torch.equal(masked.latents, plain.latents)
        assert np.array_equal(qwen().decode(masked), qwen().decode(plain))


def test_around_the_region_every_step_sees_the_noised_picture() -> None:
    spec = qwen_spec(mask=box_mask(), steps=4)
    state = qwen().prepare(spec)
    noise, clean = flow.unpack(state.latents, 8, 12), flow.unpack(state.pictures[:, :24], 8, 12)
    outside = ~latents_inside(box_mask()).expand_as(clean)
    for _ in range(4):
        qwen().denoise([state])
        expected = flow.noised(clean, noise, state.sigmas[state.step])
        found = flow.unpack(state.latents, 8, 12)
        assert torch.equal(found[outside], expected[outside])
        assert not torch.allclose(found[~outside], expected[~outside])
    assert torch.equal(flow.unpack(state.latents, 8, 12)[outside], clean[outside])


def test_what_is_painted_depends_on_what_surrounds_it() -> None:
    """The blend is in the latents too.

    Pasting a whole edit into the mask would give other pixels.
    """
    mask = box_mask()
    assert not np.array_equal(edited(mask=mask)[mask == 255], edited()[mask == 255])


def test_a_single_white_pixel_lets_its_latent_change() -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[17, 50] = 1
    inside = latents_inside(mask)[0, 0]
    assert inside.nonzero().tolist() == [[2, 6]]


def test_a_mask_and_less_strength_combine() -> None:
    mask = box_mask()
    assert qwen().plan(qwen_spec(mask=mask, strength=0.5, steps=4)).steps == 2
    near, far = (
        abs(edited(mask=mask, strength=strength, steps=10).astype(int) - photo())[mask == 255].mean()
        for strength in (0.1, 1.0)
    )
    assert near < far
    unchanged = with_engine(qwen(), lambda engine: finish(engine, qwen_spec(mask=mask, strength=0.0)))
    assert np.array_equal(unchanged.output, photo())


def test_masked_and_plain_jobs_share_a_batch_and_do_not_touch_each_other() -> None:
    specs = [qwen_spec(mask=box_mask(), seed=1), qwen_spec(seed=2), qwen_spec(mask=odd_mask(), seed=3)]
    assert len({qwen().plan(spec).batch_key for spec in specs}) == 1
    states = [qwen().prepare(spec) for spec in specs]
    for _ in range(4):
        qwen().denoise(states)
    for state, spec in zip(states, specs, strict=True):
        alone = qwen().prepare(spec)
        for _ in range(4):
            qwen().denoise([alone])
        assert torch.allclose(state.latents, alone.latents, atol=1e-4)
        assert abs(qwen().decode(state).astype(int) - qwen().decode(alone)).max() <= 1


def test_the_mask_counts_among_the_bytes_that_wait() -> None:
    assert qwen().plan(qwen_spec(mask=WHITE)).nbytes == qwen().plan(qwen_spec()).nbytes + WHITE.nbytes


@pytest.mark.parametrize(
    ("mask", "reason"),
    [(np.zeros((64, 96), np.uint8), "black everywhere"), (np.full((96, 64), 255, np.uint8), "96x64")],
)
def test_a_mask_that_cannot_be_used_is_refused_with_the_reason(mask: NDArray[np.uint8], reason: str) -> None:
    for strength in (1.0, 0.0):
        with pytest.raises(InvalidArgument, match=reason) as caught:
            qwen().plan(qwen_spec(mask=mask, strength=strength))
        assert [violation.field for violation in caught.value.violations] == ["mask"]
