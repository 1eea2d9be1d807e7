"""Qwen-Image-Edit's jobs in the engine.

Cancelled at every phase, beside a working fill engine, and encoded once.
"""

import asyncio
import threading
from collections import Counter
from typing import Any

import numpy as np
import pytest

from services.qwen_edit.model import PLACES, QwenEditAdapter, load
from tests.support.engine import (
    SMALL,
    box_mask,
    checkpoint,
    fill,
    fill_spec,
    finish,
    photo,
    qwen,
    qwen_spec,
    running,
    with_engine,
)

PICTURES = (photo(64, 96, seed=1), photo(96, 64, seed=2), photo(160, 224, seed=3)[:151, :223])


class Watch:
    """Counts the forwards of a model's networks, and blocks one of them on request."""

    def __init__(self, model: QwenEditAdapter) -> None:
        self.forwards: Counter[str] = Counter()
        self.hold = ""
        self.is_inside, self.go_on = threading.Event(), threading.Event()
        parts = model._pipeline
        networks = {
            "text_encoder": parts.text_encoder,
            "transformer": parts.transformer,
            "encoder": parts.vae.encoder,
            "decoder": parts.vae.decoder,
        }
        for name, network in networks.items():
            network.register_forward_pre_hook(lambda *_, name=name: self._note(name))

    def _note(self, name: str) -> None:
        self.forwards[name] += 1
        if name == self.hold:
            self.is_inside.set()
            assert self.go_on.wait(20)


@pytest.fixture
def model() -> QwenEditAdapter:
    return load(
        checkpoint("Qwen-Image-Edit-2509"),
        device="cpu",
        reference_pixels=SMALL,
        condition_pixels=SMALL,
        cache_bytes=2**24,
    )


@pytest.mark.parametrize(
    ("phase", "steps", "decodes"), [("text_encoder", 0, 0), ("encoder", 0, 0), ("transformer", 1, 0), ("decoder", 4, 1)]
)
def test_a_cancel_in_any_phase_ends_the_job_there_and_leaves_the_next_one_alone(
    model: QwenEditAdapter, phase: str, steps: int, decodes: int
) -> None:
    """The phase that runs is finished; nothing after it is begun."""
    watch = Watch(model)
    watch.hold = phase

    async def scenario(engine: Any) -> np.ndarray:
        doomed = asyncio.create_task(finish(engine, qwen_spec(images=PICTURES, seed=1)))
        assert await asyncio.to_thread(watch.is_inside.wait, 20)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
        watch.hold = ""
        watch.go_on.set()
        output: np.ndarray = (await finish(engine, qwen_spec())).output
        return output

    alone = with_engine(qwen(), lambda engine: finish(engine, qwen_spec())).output
    assert np.array_equal(with_engine(model, scenario), alone)
    assert watch.forwards["transformer"] == steps + 4  # those of the cancelled job and of the next one
    assert watch.forwards["decoder"] == decodes + 1


def test_another_seed_costs_no_encoding(model: QwenEditAdapter) -> None:
    watch = Watch(model)

    def run(**changes: Any) -> Counter[str]:
        before = watch.forwards.copy()
        with_engine(model, lambda engine: finish(engine, qwen_spec(**{"images": PICTURES, "steps": 2, **changes})))
        return watch.forwards - before

    assert run(seed=1) == {"text_encoder": 2, "encoder": 3, "transformer": 2, "decoder": 1}
    assert run(seed=2) == {"transformer": 2, "decoder": 1}
    assert run(seed=3, steps=4, strength=0.5, mask=box_mask()) == {"transformer": 2, "decoder": 1}
    assert run(seed=3, prompt="another") == {"text_encoder": 1, "transformer": 2, "decoder": 1}
    changed = (PICTURES[0], PICTURES[1], 255 - PICTURES[2])
    assert run(seed=3, images=changed) == {"text_encoder": 2, "encoder": 1, "transformer": 2, "decoder": 1}


@pytest.mark.parametrize("negative_prompt", [None, "blurry"])
def test_no_guidance_means_one_pass_a_step_and_no_second_prompt(
    model: QwenEditAdapter, negative_prompt: str | None
) -> None:
    watch = Watch(model)
    spec = qwen_spec(negative_prompt=negative_prompt, true_cfg_scale=1.0, steps=4)
    with_engine(model, lambda engine: finish(engine, spec))
    assert (watch.forwards["transformer"], watch.forwards["text_encoder"]) == (4, 1)


def test_edits_keep_their_pixels_while_fills_run_beside_and_other_edits_between_their_steps() -> None:
    specs = [
        qwen_spec(images=PICTURES, seed=1),
        qwen_spec(images=(photo(48, 112),), seed=2, strength=0.5),
        qwen_spec(mask=box_mask(), seed=3),
        qwen_spec(negative_prompt=None, seed=4),
    ]
    fills = [fill_spec(seed=seed, height=64 + 32 * (seed % 2)) for seed in range(4)]

    async def scenario() -> tuple[list[np.ndarray], list[np.ndarray]]:
        async with running(qwen(), name="qwen_edit") as edits, running(fill(), name="fill") as painting:
            jobs = [*(finish(edits, spec) for spec in specs), *(finish(painting, spec) for spec in fills)]
            outputs = [done.output for done in await asyncio.gather(*jobs)]
        return outputs[: len(specs)], outputs[len(specs) :]

    edited, filled = asyncio.run(scenario())
    for output, spec in zip(edited, specs, strict=True):
        alone = with_engine(qwen(), lambda engine, spec=spec: finish(engine, spec)).output
        assert abs(output.astype(int) - alone).max() <= 1
    for output, spec in zip(filled, fills, strict=True):
        alone = with_engine(fill(), lambda engine, spec=spec: finish(engine, spec)).output
        assert abs(output.astype(int) - alone).max() <= 1


def test_giving_memory_back_forgets_the_places_of_earlier_pictures() -> None:
    model = qwen()
    model.denoise([model.prepare(qwen_spec())])
    remembered = model._pipeline.transformer.pos_embed._compute_video_freqs.cache_info
    assert remembered().currsize > 0
    assert remembered().maxsize == PLACES
    model.free_memory()
    assert remembered().currsize == 0
