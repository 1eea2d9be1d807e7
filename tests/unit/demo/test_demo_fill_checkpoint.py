"""The committed demo FLUX.1-Fill: small, with an honest card, and it paints well."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import numpy as np
import pytest

from demo import world
from demo.train.flux_fill import examples
from demo.train.shared import lora
from demo.train.shared.run_folder import FILL, notes_of
from imgedit.imaging.images import Pixels
from services.diffusion.networks.lora import LoraFile
from services.fill.model import FillAdapter, load
from services.fill.spec import FillSpec

FOLDER = Path(__file__).parents[3] / "demo" / "models" / FILL
MOST_BYTES = 12_000_000
KOREAN = ("배경을 현대적인 체육관으로 변경", "안경을 전체적인 색상으로 제거")


@functools.cache
def adapter() -> FillAdapter:
    return load(FOLDER, device="cpu", loras={"fast": LoraFile(FOLDER / lora.FILE)})


def repainted(prompt: str, fast: bool) -> tuple[Pixels, np.ndarray]:
    """A held-out person before another place, and what of the picture was to be kept."""
    rng = random.Random(world.HELD_OUT_SEEDS[7])
    drawn = world.render(world.sample(rng, width=128, height=128, background="park"))
    kept = examples.seen_of(drawn.alpha, rng)
    mask = np.where(kept, 0, 255).astype(np.uint8)
    steps = 4 if fast else 8
    spec = FillSpec(drawn.rgb, mask, prompt, None, 1.0, steps, 3.5, 1.0, seed=1, lora="fast" if fast else None)
    state = adapter().prepare(spec)
    for _ in range(steps):
        adapter().denoise([state])
    return adapter().decode(state), kept


def test_it_is_small_and_says_what_it_is() -> None:
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) <= MOST_BYTES
    card = (FOLDER / "README.md").read_text()
    assert "It knows nothing else" in card
    notes = notes_of(FOLDER)
    assert notes.keys() == {"vae", "transformer", "fast"}
    for noted in notes.values():
        assert f"| steps | {noted['steps']} |" in card


@pytest.mark.parametrize("fast", [False, True])
def test_it_paints_the_colour_that_is_asked_for(fast: bool) -> None:
    for colour, channel in (("red", 0), ("blue", 2)):
        painted, kept = repainted(f"Change the background to plain {colour}", fast)
        seen = painted[~kept].mean(axis=0)
        assert seen.argmax() == channel, f"{colour}: {seen}"
        assert seen.max() > 1.5 * np.median(seen)


def test_two_korean_prompts_are_the_same_to_it() -> None:
    first, other = (adapter()._pipeline.tokenizer_2(prompt).input_ids for prompt in KOREAN)
    assert first == other
