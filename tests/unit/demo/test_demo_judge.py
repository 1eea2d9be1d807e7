"""The demo's classifiers are right about scenes outside their training set."""

from __future__ import annotations

import io
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from demo import world
from demo.judge import WEIGHTS, Judge, examples, place_of
from demo.world import HELD_OUT_SEEDS

pytestmark = pytest.mark.slow

COUNT = 90


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge()


@pytest.fixture(scope="module")
def drawn() -> list[tuple[world.Scene, np.ndarray]]:
    scenes = [world.sample(random.Random(HELD_OUT_SEEDS.start + 900_000 + number)) for number in range(COUNT)]
    return [(scene, world.render(scene).rgb) for scene in scenes]


def test_it_is_small():
    assert WEIGHTS.stat().st_size < 1_000_000


def test_it_knows_the_place_of_held_out_scenes(judge, drawn):
    said = judge.places([pixels for _, pixels in drawn])
    assert np.mean([place_of(scene.background) == place for (scene, _), place in zip(drawn, said, strict=True)]) >= 0.98


def test_it_knows_the_place_in_blurred_pictures_and_jpegs(judge, drawn):
    said = judge.places([_worn(pixels) for _, pixels in drawn])
    assert np.mean([place_of(scene.background) == place for (scene, _), place in zip(drawn, said, strict=True)]) >= 0.95


def test_it_sees_what_is_held_and_glasses(judge):
    people = [examples.person(HELD_OUT_SEEDS.start + 930_000 + number) for number in range(COUNT)]
    shown, who = [picture for picture, _ in people], [person for _, person in people]
    held, glasses = judge.held(shown, who), judge.glasses(shown, who)
    assert np.mean([person.holding == what for person, what in zip(who, held, strict=True)]) >= 0.97
    assert np.mean([person.glasses == there for person, there in zip(who, glasses, strict=True)]) >= 0.97


def test_what_is_in_the_other_hand_is_held_too(judge):
    people = [examples.person(HELD_OUT_SEEDS.start + 960_000 + number) for number in range(COUNT)]
    middle = [replace(who, position=0.5) for _, who in people if who.pose in ("flexing", "arms out", "cheering")]
    scene = replace(world.sample(random.Random(1)), props=())
    # Mirrored, what was in one hand is in the other one.
    mirrored = [world.render(replace(scene, person=who)).rgb[:, ::-1] for who in middle]
    assert len(middle) > 15
    right = [who.holding == what for who, what in zip(middle, judge.held(mirrored, middle), strict=True)]
    assert right.count(False) <= 2


def test_it_sees_the_things_in_a_strip_of_a_picture(judge):
    strips = [examples.region(HELD_OUT_SEEDS.start + 950_000 + number, height=256) for number in range(COUNT)]
    said = judge.props([strip for strip, _ in strips])
    assert np.mean([found == there for found, (_, there) in zip(said, strips, strict=True)]) >= 0.93


def _worn(pixels: np.ndarray) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1.5)).save(data, "JPEG", quality=60)
    return np.asarray(Image.open(data).convert("RGB"))
