"""Pictures of the demo world as a VAE and sheets of samples need them. No torch."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from demo import world

Pixels = NDArray[np.uint8]

SIZES = ((256, 256),) * 6 + ((128, 128), (128, 128), (352, 176), (176, 352), (320, 256))
"""(width, height): mostly what the demo edits, and what else a work area can be."""


@lru_cache(maxsize=4000)
def picture(seed: int) -> tuple[Pixels, Pixels]:
    """A scene's pixels (H, W, 3) and its person's alpha (H, W).

    The size goes by the seed too.
    """
    drawn = world.render(_scene(seed))
    return drawn.rgb, drawn.alpha


def word_box(seed: int) -> tuple[int, int, int, int] | None:
    """Left, top, right and bottom of the word on the shirt of that picture.

    None = there is none.
    """
    scene = _scene(seed)
    if scene.person is None or not scene.person.shirt_text:
        return None
    return world.text_box(scene.person, scene.width, scene.height)


def _scene(seed: int) -> world.Scene:
    rng = random.Random(seed)
    width, height = rng.choice(SIZES)
    return world.sample(rng, width=width, height=height)


def hidden(alpha: Pixels, rng: random.Random) -> NDArray[np.bool_]:
    """(H, W): a plausible mask: all but the person, a strip, or all but a strip."""
    height, width = alpha.shape
    kind = rng.random()
    if kind < 0.6:
        return alpha < rng.choice((8, 128, 250))
    flags = np.zeros(alpha.shape, np.bool_)
    if rng.random() < 0.5:
        flags[:, : round(width * rng.uniform(0.2, 0.8))] = True
    else:
        flags[: round(height * rng.uniform(0.2, 0.8))] = True
    if rng.random() < 0.5:
        flags = flags[::-1, ::-1]
    return flags


def tiled(pictures: Sequence[Sequence[Pixels]], gap: int = 4) -> Image.Image:
    """Rows of pictures as one sheet."""
    height = sum(max(p.shape[0] for p in row) + gap for row in pictures)
    width = max(sum(p.shape[1] + gap for p in row) for row in pictures)
    sheet = Image.new("RGB", (width, height), "white")
    top = 0
    for row in pictures:
        left = 0
        for shown in row:
            sheet.paste(Image.fromarray(shown), (left, top))
            left += shown.shape[1] + gap
        top += max(p.shape[0] for p in row) + gap
    return sheet
