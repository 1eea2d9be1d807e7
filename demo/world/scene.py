"""A scene as plain values: a person in sportswear, objects, a place.

Change a scene with `dataclasses.replace`. Every part draws its variation from its own seed, so unchanged parts stay
identical, pixel for pixel.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from demo.world.svg import RGB

COLOURS: dict[str, RGB] = {
    "red": (206, 40, 44),
    "blue": (38, 84, 204),
    "green": (44, 148, 68),
    "yellow": (242, 200, 40),
    "purple": (128, 58, 168),
    "orange": (240, 126, 28),
    "white": (240, 240, 238),
    "black": (40, 40, 46),
    "pink": (240, 130, 172),
    "grey": (138, 142, 148),
}
BACKGROUNDS = ("gym", "park", "beach", "night city", "brick wall", "snowy mountains", "running track", "plain")
PLAIN_COLOURS = tuple(COLOURS)
HANDHELD = ("dumbbell", "water bottle")
HOLDABLE = ("nothing", *HANDHELD)
PROPS = ("exercise equipment", "tree", "bench", "ball", "street lamp", "parasol")
WORDS = ("GYM", "FITNESS", "RUN", "YOGA", "TEAM", "SPORT")
SKINS: dict[str, RGB] = {
    "porcelain": (250, 219, 197),
    "light": (240, 196, 164),
    "tan": (216, 162, 122),
    "olive": (190, 138, 96),
    "brown": (146, 96, 64),
    "dark": (100, 64, 46),
}
HAIRS: dict[str, RGB] = {
    "black": (38, 32, 36),
    "brown": (96, 60, 36),
    "blond": (226, 184, 96),
    "red": (170, 76, 36),
    "grey": (160, 160, 166),
}
HAIR_STYLES = ("short", "long", "bun", "curly", "ponytail", "spiky")
POSES = (
    "standing",
    "hands on hips",
    "waving",
    "flexing",
    "arms out",
    "cheering",
    "stepping",
    "presenting",
)

TRAINING_SEEDS = range(10_000_000)
HELD_OUT_SEEDS = range(10_000_000, 20_000_000)
"""Measurements use seeds that no training uses."""


@dataclass(frozen=True)
class Person:
    """Someone in sportswear.

    `position` is 0–1 across the picture, `scale` the share of its height.
    """

    skin: str
    hair: str
    hair_style: str
    glasses: bool
    shirt: str
    shirt_text: str
    trousers: str
    pose: str
    holding: str
    position: float
    scale: float
    seed: int


@dataclass(frozen=True)
class Background:
    """A place.

    `colour` is "" unless it is plain; `seed` varies light, counts and positions.
    """

    kind: str
    colour: str
    seed: int


@dataclass(frozen=True)
class Prop:
    """An object on the floor.

    `position` is 0–1 across the image, `scale` is about 1.
    """

    kind: str
    position: float
    scale: float
    seed: int


@dataclass(frozen=True)
class Scene:
    """A picture to draw, `width` × `height` pixels."""

    width: int
    height: int
    person: Person | None
    background: Background
    props: tuple[Prop, ...]


def person_of(scene: Scene) -> Person:
    """The person in it. Raises `ValueError` where nobody is."""
    if scene.person is None:
        raise ValueError("nobody is in the scene")
    return scene.person


def with_person(scene: Scene, **changes: object) -> Scene:
    """The scene with fields of its person changed."""
    return replace(scene, person=replace(person_of(scene), **changes))  # type: ignore[arg-type]


def sample(rng: random.Random, *, width: int = 256, height: int = 256, background: str | None = None) -> Scene:
    """A scene in which anything may be so or otherwise.

    `background` fixes the kind of place.
    """
    person = sample_person(rng, aspect=width / height)
    place = sample_background(rng, kind=background)
    props = tuple(sample_prop(rng, beside=person.position) for _ in range(rng.choice((0, 0, 1, 1, 1, 2))))
    return Scene(width=width, height=height, person=person, background=place, props=props)


def sample_person(rng: random.Random, *, aspect: float = 1.0) -> Person:
    """Someone who fits into a picture `aspect` times as wide as high."""
    scale = rng.uniform(0.7, 0.85)
    margin = min(0.5, 0.24 * scale / aspect)
    return Person(
        skin=rng.choice(tuple(SKINS)),
        hair=rng.choice(tuple(HAIRS)),
        hair_style=rng.choice(HAIR_STYLES),
        glasses=rng.random() < 0.4,
        shirt=rng.choice(tuple(COLOURS)),
        shirt_text=rng.choice(WORDS) if rng.random() < 0.5 else "",
        trousers=rng.choice(tuple(COLOURS)),
        pose=rng.choice(POSES),
        holding=rng.choice(HOLDABLE) if rng.random() < 0.6 else "nothing",
        position=rng.uniform(margin, 1 - margin),
        scale=scale,
        seed=rng.getrandbits(31),
    )


def sample_background(rng: random.Random, *, kind: str | None = None) -> Background:
    """A place of any kind, or of the one asked for."""
    chosen = rng.choice(BACKGROUNDS) if kind is None else kind
    return Background(
        kind=chosen,
        colour=rng.choice(PLAIN_COLOURS) if chosen == "plain" else "",
        seed=rng.getrandbits(31),
    )


def sample_prop(rng: random.Random, *, beside: float | None = None, kind: str | None = None) -> Prop:
    """An object, usually at the roomier side of a person at `beside`."""
    position = rng.uniform(0.08, 0.92)
    if beside is not None and abs(position - beside) < 0.25:
        position = (
            rng.uniform(0.06, max(0.08, beside - 0.25)) if beside > 0.5 else rng.uniform(min(0.92, beside + 0.25), 0.94)
        )
    return Prop(
        kind=rng.choice(PROPS) if kind is None else kind,
        position=position,
        scale=rng.uniform(0.85, 1.15),
        seed=rng.getrandbits(31),
    )
