"""The demo's measures recognise requested edits and reject the old image.

For each pixel measure, and for each kind of edit of the benchmark.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from benchmarks.demo_quality.qwen_tasks import TASKS
from demo import world
from demo.judge import Judge, measures
from demo.world import HELD_OUT_SEEDS

FEW = 12
BLUR, NOISE = 1.0, 8.0
"""More than an autoencoder takes away and adds."""


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


def scenes(count: int) -> list[tuple[world.Scene, random.Random]]:
    found = []
    for number in range(count):
        rng = random.Random(HELD_OUT_SEEDS.start + 970_000 + number)
        found.append((world.sample(rng), rng))
    return found


def worn(pixels: np.ndarray) -> np.ndarray:
    soft = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(BLUR)))
    grain = np.random.default_rng(int(pixels.sum())).normal(0, NOISE, soft.shape)
    return np.clip(soft + grain, 0, 255).astype(np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["appearance", "text", "several"])
def test_the_measures_know_the_drawn_result_from_the_picture_before(judge, name):
    right, before = [], []
    for scene, rng in scenes(FEW):
        case = TASKS[name].case(scene, rng)
        for found, drawn in ((right, case.truth), (before, case.scene)):
            found.append(TASKS[name].seen(judge, case, worn(world.render(drawn).rgb)) == case.wanted)
    assert right.count(False) <= 1
    assert not any(before)


@pytest.mark.parametrize("name", ["add", "remove", "scene"])
def test_the_judge_knows_the_drawn_result_from_the_picture_before(judge, name):
    for scene, rng in scenes(FEW):
        case = TASKS[name].case(scene, rng)
        assert TASKS[name].seen(judge, case, world.render(case.truth).rgb) == case.wanted
        assert TASKS[name].seen(judge, case, world.render(case.scene).rgb) != case.wanted


def test_a_word_is_found_a_little_beside_its_place():
    for scene, _ in scenes(FEW):
        lettered = replace(scene, person=replace(scene.person, shirt_text="TEAM"))
        assert measures.word(np.roll(world.render(lettered).rgb, (2, -2), (0, 1)), lettered) == "TEAM"


def test_the_rest_is_what_is_not_the_shirt():
    scene, _ = scenes(1)[0]
    original = world.render(scene).rgb
    shirt = measures.shirt_mask(scene) > 0
    recoloured, repainted = original.copy(), original.copy()
    recoloured[shirt] = (255, 0, 0)
    repainted[~shirt] = 255 - original[~shirt]
    assert measures.rest_change(recoloured, original, scene) == 0
    assert measures.rest_change(repainted, original, scene) > 0.2


def test_palettes_are_apart_by_their_colours_and_not_by_where_these_stand():
    red = np.full((40, 60, 3), (200, 0, 0), np.uint8)
    half, mixed = red.copy(), red.copy()
    half[:20] = (0, 0, 200)
    mixed[::2] = (0, 0, 200)
    apart = measures.palette_distance(red, half)
    assert apart > 10
    assert measures.palette_distance(half, mixed) == 0
    assert measures.palette_distance(red, mixed) == apart
    assert measures.palette_distance(red, half[:, :30]) == apart
