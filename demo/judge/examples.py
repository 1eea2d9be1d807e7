"""Training data of the classifiers: degraded drawings with answers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from demo import world
from demo.judge.judge import PLACES, cut, place_of
from demo.judge.network import SIDE, as_seen
from demo.world import HOLDABLE, PROPS, Person, face_box, hand_box

PERSON_SIDE = 160
MAX_BLUR = 1.3
MAX_NOISE = 0.05


@dataclass(frozen=True)
class TrainingExample:
    """Pictures (N, 3, 96, 96) uint8 and the answers that belong to them (N, …)."""

    pictures: Tensor
    answers: Tensor


def scenes(seeds: range) -> TrainingExample:
    """Whole scenes. Answers: the number of the place."""
    drawn = [world.sample(random.Random(seed), width=SIDE, height=SIDE, background=_kind(seed)) for seed in seeds]
    pictures = [world.render(scene).rgb for scene in drawn]
    return TrainingExample(
        stacked(pictures), torch.tensor([PLACES.index(place_of(scene.background)) for scene in drawn])
    )


def regions(seeds: range) -> TrainingExample:
    """Strips of scenes at full height.

    Answers: 1 for each object in them.
    """
    drawn = [region(seed) for seed in seeds]
    answers = [[float(kind in there) for kind in PROPS] for _, there in drawn]
    return TrainingExample(stacked([strip for strip, _ in drawn]), torch.tensor(answers))


def hands(seeds: range) -> TrainingExample:
    """The hands of people. Answers: the number of what they hold."""
    drawn = [person(seed) for seed in seeds]
    pictures = [cut(picture, hand_box(who, PERSON_SIDE, PERSON_SIDE)) for picture, who in drawn]
    return TrainingExample(stacked(pictures), torch.tensor([HOLDABLE.index(who.holding) for _, who in drawn]))


def faces(seeds: range) -> TrainingExample:
    """The faces of people. Answers: 1 for glasses."""
    drawn = [person(seed) for seed in seeds]
    pictures = [cut(picture, face_box(who, PERSON_SIDE, PERSON_SIDE)) for picture, who in drawn]
    return TrainingExample(stacked(pictures), torch.tensor([[float(who.glasses)] for _, who in drawn]))


def person(seed: int) -> tuple[np.ndarray, Person]:
    """A scene and the person in it, who holds each of the things as often as nothing."""
    rng = random.Random(seed)
    scene = world.sample(rng, width=PERSON_SIDE, height=PERSON_SIDE)
    who = replace(world.sample_person(rng), holding=rng.choice(HOLDABLE), glasses=rng.random() < 0.5)
    return world.render(replace(scene, person=who)).rgb, who


def region(seed: int, height: int = SIDE) -> tuple[np.ndarray, frozenset[str]]:
    """A strip of a scene, (H, W, 3) uint8, and the things in it.

    Things out of it are out of it wholly.
    """
    rng = random.Random(seed)
    width = round(height * rng.uniform(0.25, 0.6))
    scene = world.sample(rng, width=2 * height, height=height)
    middle, half = width / 2 / scene.width, 0.12
    props = [world.sample_prop(rng, kind=rng.choice(PROPS)) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    props = [replace(prop, position=rng.uniform(0.35 * middle, 1.65 * middle)) for prop in props[:1]]
    far = [world.sample_prop(rng) for _ in range(rng.choice((0, 1)))]
    far = [replace(prop, position=rng.uniform(2 * middle + 1.2 * half, 1)) for prop in far]
    who = replace(world.sample_person(rng), position=rng.uniform(2 * middle + 0.05, 0.9))
    scene = replace(scene, person=who, props=(*far, *props))
    pixels = world.render(scene).rgb[:, :width]
    return (pixels[:, ::-1] if rng.random() < 0.5 else pixels), frozenset(prop.kind for prop in props)


def worn(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 3, S, S) uint8 -> [0, 1], randomly blurred, coarsened, tinted and noised."""
    x = pictures.float() / 255
    x = torch.cat([_softened(picture, generator) for picture in torch.split(x, 8)])
    count = len(x)
    gain = 1 + (torch.rand(count, 3, 1, 1, generator=generator) - 0.5) * 0.12
    shift = (torch.rand(count, 3, 1, 1, generator=generator) - 0.5) * 0.08
    coarse = torch.randn(count, 3, SIDE // 8, SIDE // 8, generator=generator)
    noise = functional.interpolate(coarse, (SIDE, SIDE), mode="bilinear") + torch.randn(x.shape, generator=generator)
    amount = torch.rand(count, 1, 1, 1, generator=generator) ** 2 * MAX_NOISE
    return (x * gain + shift + amount * noise).clamp(0, 1)


def _softened(x: Tensor, generator: torch.Generator) -> Tensor:
    """Blurred by a Gaussian, or reduced in resolution, like an autoencoder's output."""
    kind = float(torch.rand((), generator=generator))
    if kind < 0.3:
        return x
    amount = float(torch.rand((), generator=generator))
    if kind < 0.65:
        side = round(SIDE / (1 + amount * 1.5))
        small = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
        return functional.interpolate(small, (SIDE, SIDE), mode="bicubic").clamp(0, 1)
    sigma = 0.3 + amount * MAX_BLUR
    places = torch.arange(-4, 5)
    line = torch.exp(-(places**2) / (2 * sigma**2))
    line = (line / line.sum()).expand(3, 1, 1, 9)
    x = functional.conv2d(functional.pad(x, (4, 4, 4, 4), mode="replicate"), line, groups=3)
    return functional.conv2d(x, line.transpose(2, 3), groups=3)


def batches(count: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Numbers of examples in an order that never ends."""
    while True:
        yield from torch.split(torch.randperm(count, generator=generator)[: count // size * size], size)


def _kind(seed: int) -> str | None:
    """Every place as often as every plain colour would be too rare a place.

    Two thirds places, one third plain.
    """
    return "plain" if seed % 3 == 0 else None


def stacked(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures as the classifiers see them, (N, 3, 96, 96) uint8."""
    seen = [as_seen(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None] / 255) for picture in pictures]
    return (torch.cat(seen) * 255).round().clamp(0, 255).to(torch.uint8)
