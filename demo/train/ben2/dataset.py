"""Training images of BEN2: varied scenes of the demo world with their true alpha.

A seed and a number give one image. Sizes, crops, colours, noise and compression vary; people also appear on foreign
backgrounds, as after an edit; and some images contain nobody.
"""

from __future__ import annotations

import io
import random
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from demo import world
from imgedit.imaging.images import Pixels

SIDES = (0.625, 1.5)
"""Sides of a picture as drawn, in sides of the square that it is squeezed to; half of all pictures are that square."""

NOBODY = 0.12
"""Share of pictures without a person; a third of them show no scene at all."""

Floats = NDArray[np.floating[Any]]


def sample(seed: int, number: int, side: int) -> tuple[Pixels, Pixels]:
    """Image (side, side, 3) and alpha (side, side), both uint8, squeezed to a square."""
    rng = random.Random(random.Random(f"{seed} {number}").choice(world.TRAINING_SEEDS))
    picture, alpha = _drawn(rng, side)
    if rng.random() < 0.3:
        picture, alpha = _cropped(picture, alpha, rng)
    if rng.random() < 0.5:
        picture, alpha = picture[:, ::-1], alpha[:, ::-1]
    picture = _compressed(_noisy(_tinted(picture, rng), rng), rng)
    return _squeezed(picture, side, Image.Resampling.LANCZOS), _squeezed(alpha, side, Image.Resampling.BILINEAR)


def held_out(seed: int) -> tuple[Pixels, Pixels]:
    """A scene of a seed for measuring.

    Picture (H, W, 3) and alpha (H, W), of any size and shape, in any light.
    """
    rng = random.Random(f"varied {seed}")
    width, height = (8 * rng.randrange(20, 65) for _ in range(2))
    drawn = world.render(world.sample(random.Random(seed), width=width, height=height))
    return _compressed(_noisy(_tinted(drawn.rgb, rng), rng), rng), drawn.alpha


def _drawn(rng: random.Random, side: int) -> tuple[Pixels, Pixels]:
    """A scene, sometimes on another ground, sometimes with nobody."""
    width = height = side
    if rng.random() < 0.5:
        width, height = (round(side * rng.uniform(*SIDES)) for _ in range(2))
    scene = world.sample(rng, width=width, height=height)
    chance = rng.random()
    if chance < NOBODY / 3:
        return _shapeless(rng, height, width), np.zeros((height, width), np.uint8)
    if chance < NOBODY:
        scene = replace(scene, person=None)
    drawn = world.render(scene)
    if chance < 0.7:
        return drawn.rgb, drawn.alpha
    other = replace(world.sample(rng, width=width, height=height), person=None)
    ground = _shapeless(rng, height, width) if rng.random() < 0.3 else world.render(other).rgb
    weight = drawn.alpha[:, :, None].astype(np.float32) / 255
    return _rounded(drawn.rgb * weight + ground * (1 - weight)), drawn.alpha


def _shapeless(rng: random.Random, height: int, width: int) -> Pixels:
    """One colour, or two that run into one another."""
    first, second = (np.array([rng.randrange(256) for _ in range(3)], np.float32) for _ in range(2))
    if rng.random() < 0.5:
        second = first
    down, right = rng.random(), rng.random()
    along = down * np.linspace(0, 1, height)[:, None, None] + right * np.linspace(0, 1, width)[None, :, None]
    along = along / (down + right + 1e-6)
    return _rounded(first + (second - first) * along.astype(np.float32))


def _cropped(picture: Pixels, alpha: Pixels, rng: random.Random) -> tuple[Pixels, Pixels]:
    """A part of the picture, at least half of each side."""
    (top, bottom), (left, right) = (_part(length, rng) for length in alpha.shape)
    return picture[top:bottom, left:right], alpha[top:bottom, left:right]


def _part(length: int, rng: random.Random) -> tuple[int, int]:
    kept = round(length * rng.uniform(0.5, 1))
    start = rng.randint(0, length - kept)
    return start, start + kept


def _tinted(picture: Pixels, rng: random.Random) -> Pixels:
    """Other light: contrast, brightness, gamma, and a cast of colour."""
    if rng.random() < 0.5:
        return picture
    values = np.linspace(0, 1, 256, dtype=np.float32)[:, None] ** rng.uniform(0.75, 1.35)
    cast = np.array([rng.uniform(0.88, 1.12) for _ in range(3)], np.float32)
    table = _rounded(255 * ((values - 0.5) * rng.uniform(0.75, 1.25) + 0.5 + rng.uniform(-0.1, 0.1)) * cast)
    return np.stack([table[:, channel][picture[:, :, channel]] for channel in range(3)], axis=-1)


def _noisy(picture: Pixels, rng: random.Random) -> Pixels:
    """Out of focus, or grainy."""
    chance = rng.random()
    if chance < 0.1:
        blurred = Image.fromarray(np.ascontiguousarray(picture)).filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1)))
        return np.asarray(blurred)
    if chance < 0.3:
        grain = np.random.default_rng(rng.getrandbits(64)).standard_normal(picture.shape, np.float32)
        return _rounded(picture + rng.uniform(1, 8) * grain)
    return picture


def _compressed(picture: Pixels, rng: random.Random) -> Pixels:
    """As JPEG leaves it."""
    if rng.random() < 0.7:
        return picture
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(file, "JPEG", quality=rng.randint(45, 95))
    with Image.open(file) as opened:
        return np.asarray(opened)


def _squeezed(pixels: Pixels, side: int, resampling: Image.Resampling) -> Pixels:
    if pixels.shape[:2] == (side, side):
        return np.ascontiguousarray(pixels)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((side, side), resampling))


def _rounded(values: Floats) -> Pixels:
    rounded: Pixels = np.rint(np.clip(values, 0, 255)).astype(np.uint8)
    return rounded
