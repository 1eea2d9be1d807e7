"""Training examples of FLUX.1-Fill: a masked image, a prompt, and the target.

The masks are those of production: all but the person with its soft edge, or a new strip at a side with as much context
as a work area has. Drawn from seeds, without torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from demo import world
from demo.train.shared.pictures import Pixels
from demo.world import prompts
from services.orchestrator.imaging import masks

VARIANTS = 4
"""How many backgrounds one person is shown before."""

HALF_WIDTHS = {"exercise equipment": 24, "tree": 20, "bench": 21, "ball": 12, "street lamp": 8, "parasol": 23}
"""Size of the requested objects, in hundredths of the image's height."""

LOOK = 4
"""The seed of the requested objects: their colour and vertical position."""


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One hidden part and several ways to fill it.

    kept: (H, W), what the mask leaves. pictures: (H, W, 3) each, equal where something is kept. requests: one for each.
    """

    kept: NDArray[np.bool_]
    pictures: tuple[Pixels, ...]
    requests: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """Training examples of one size.

    make: from a seed; size: (width, height); count: their number.
    """

    make: Callable[[random.Random, tuple[int, int]], TrainingExample]
    size: tuple[int, int]
    count: int


def other_background(rng: random.Random, size: tuple[int, int]) -> TrainingExample:
    """A person before several places."""
    width, height = size
    scene = replace(world.sample(rng, width=width, height=height), props=())
    kinds = [*rng.sample(world.BACKGROUNDS[:-1], VARIANTS - 1), "plain"]
    if rng.random() < 0.5:
        kinds[-1] = next(kind for kind in world.BACKGROUNDS if kind not in kinds)
    pictures, requests, alpha = [], [], None
    for kind in kinds:
        place = world.sample_background(rng, kind=kind)
        props: tuple[world.Prop, ...] = ()
        if kind != "plain" and rng.random() < 0.25:
            props = (world.sample_prop(rng, beside=scene.person.position if scene.person else None),)
            request = taught(partial(prompts.background_with, kind, props[0].kind, rng))
        else:
            request = taught(partial(prompts.background, kind, place.colour, rng))
        drawn = world.render(replace(scene, background=place, props=props))
        alpha = drawn.alpha
        pictures.append(drawn.rgb)
        requests.append("Change the background" if rng.random() < 0.02 else request)
    assert alpha is not None  # noqa: S101 - there is more than one kind
    return TrainingExample(seen_of(alpha, rng), tuple(pictures), tuple(requests))


def seen_of(alpha: Pixels, rng: random.Random) -> NDArray[np.bool_]:
    """A background mask as BEN2 would make it, with varying certainty."""
    surest = 255 - masks.relevel(255 - alpha, 0.5, stretch=True)
    kept: NDArray[np.bool_] = masks.shrink(surest, rng.choice((0, 0, 0, 1, 1, 2))) == 255
    return kept


def strip_at_side(rng: random.Random, size: tuple[int, int]) -> TrainingExample:
    """An image extended at its left or right.

    `size` is that of the work area: the strip and its context.
    """
    width, height = size
    strip = width - height // 4 + rng.choice((0, 0, rng.randint(-8, 8)))
    side = rng.choice(("left", "right"))
    whole = strip + rng.choice((height, height, height * 3 // 4, height * 5 // 4))
    scene = replace(world.sample(rng, width=whole, height=height), props=())
    if scene.person is not None:
        old = (whole - strip) / whole
        position = scene.person.position * old + (strip / whole if side == "left" else 0.0)
        scene = replace(scene, person=replace(scene.person, position=position))
    here = np.s_[:, :width] if side == "left" else np.s_[:, whole - width :]
    kept = np.ones((height, whole), np.bool_)
    kept[:, :strip] = False
    if side == "right":
        kept = kept[:, ::-1]
    plain = world.render(scene).rgb
    pictures, requests = [], []
    for wanted in (rng.choice(world.PROPS), "exercise equipment", "", rng.choice(world.PROPS)):
        if wanted:
            prop = _within(rng, wanted, strip, whole, height, side)
            seen = world.render(replace(scene, props=(prop,))).rgb
            request = taught(partial(prompts.extend, wanted, side, rng))
        else:
            seen = plain
            request = taught(partial(prompts.extend, scene.background.kind, side, rng))
        pictures.append(np.where(kept[..., None], plain, seen)[here])
        requests.append(request)
    return TrainingExample(kept[here], tuple(pictures), tuple(requests))


def _within(rng: random.Random, kind: str, strip: int, whole: int, height: int, side: str) -> world.Prop:
    """A thing that about fits into the middle of the strip.

    Of each kind there is one look.
    """
    room = 100 * strip / height
    scale = min(1.1, max(0.55, 0.97 * room / (2 * HALF_WIDTHS[kind])))
    centre = strip / 2 + rng.uniform(-0.02, 0.02) * strip
    position = (centre if side == "left" else whole - centre) / whole
    return world.Prop(kind, position, scale, LOOK)


def strips_around(rng: random.Random, size: tuple[int, int]) -> TrainingExample:
    """An image extended at two opposite sides or at the top, as a whole."""
    width, height = size
    scene = world.sample(rng, width=width, height=height)
    drawn = world.render(scene)
    kept = np.ones((height, width), np.bool_)
    if rng.random() < 0.6:
        edge = round(width * rng.uniform(0.1, 0.28))
        kept[:, :edge] = kept[:, width - edge :] = False
        request = rng.choice(("Extend to both sides", "Extend to the left and right", "Widen the picture"))
    else:
        kept[: round(height * rng.uniform(0.15, 0.4))] = False
        request = "Extend to the top"
    if rng.random() < 0.5:
        kind, colour = scene.background.kind, scene.background.colour
        request = taught(partial(prompts.background, kind, colour, rng))
    return TrainingExample(kept, (drawn.rgb,), (request,))


def box(rng: random.Random, size: tuple[int, int]) -> TrainingExample:
    """A box of a scene is hidden, and its place is named."""
    width, height = size
    scene = world.sample(rng, width=width, height=height)
    drawn = world.render(scene)
    kept = np.ones((height, width), np.bool_)
    across, down = round(width * rng.uniform(0.3, 0.7)), round(height * rng.uniform(0.3, 0.7))
    left, top = rng.randint(0, width - across), rng.randint(0, height - down)
    kept[top : top + down, left : left + across] = False
    kind, colour = scene.background.kind, scene.background.colour
    return TrainingExample(kept, (drawn.rgb,), (taught(partial(prompts.background, kind, colour, rng)),))


KINDS: dict[str, Kind] = {
    "small background": Kind(other_background, (128, 128), 600),
    "background": Kind(other_background, (256, 256), 500),
    "low background": Kind(other_background, (192, 192), 100),
    "wide background": Kind(other_background, (304, 208), 80),
    "high background": Kind(other_background, (208, 304), 80),
    "strip": Kind(strip_at_side, (128, 256), 200),
    "broad strip": Kind(strip_at_side, (192, 256), 450),
    "large strip": Kind(strip_at_side, (192, 368), 40),
    "around": Kind(strips_around, (336, 192), 100),
    "box": Kind(box, (256, 256), 80),
}
"""By name; a batch has examples of one kind, so of one size."""


def example(name: str, seed: int) -> TrainingExample:
    """The example of a kind with this number, always the same."""
    kind = KINDS[name]
    return kind.make(random.Random(f"{name}:{seed}"), kind.size)


def taught(draw: Callable[[], prompts.Phrase]) -> str:
    """The English of the first phrase drawn that is not held out for measures."""
    return phrase_taught(draw).english


def phrase_taught(draw: Callable[[], prompts.Phrase]) -> prompts.Phrase:
    """The first phrase drawn that is not held out for measures."""
    for _ in range(200):
        phrase = draw()
        if not prompts.is_held_out(phrase):
            return phrase
    raise ValueError(f"all phrases like {phrase.english!r} are held out")
