"""The edits for `ben2_qwen_image`, with known outcomes.

Drawn ground truth can be judged like a painted result.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from demo import world
from demo.judge import Judge, measures, place_of
from demo.world import prompts
from demo.world.prompts import Phrase

NEAR = 0.6
"""A result is like its reference where their palettes are at most this times as far apart as before.

Any fall would be too little to ask: noise alone brings most pictures a little nearer. Drawn truths come to 0.09 in the
middle and to 0.53 at most, pictures that are only blurred and noisy to no less than 0.88.
"""


@dataclass(frozen=True)
class Case:
    """One edit: a scene, its target, all prompts for it, and the expected finding."""

    scene: world.Scene
    truth: world.Scene
    phrases: tuple[Phrase, ...]
    wanted: str
    reference: world.Scene | None = None


@dataclass(frozen=True)
class Task:
    """One kind of edit.

    case: made of a scene; seen: the finding in a result, in the words of `Case.wanted`. keeps_background: whether only
    the person may change.
    """

    feature: str
    measure: str
    least: float
    case: Callable[[world.Scene, random.Random], Case]
    seen: Callable[[Judge, Case, np.ndarray], str]
    keeps_background: bool


def recoloured(scene: world.Scene, rng: random.Random) -> Case:
    """Another colour of the shirt."""
    old = world.person_of(scene).shirt
    new = rng.choice([colour for colour in world.COLOURS if colour != old])
    return Case(
        scene, world.with_person(scene, shirt=new), prompts.recolours(old, new) + prompts.recolours(None, new), new
    )


def handed(scene: world.Scene, rng: random.Random) -> Case:
    """Something in the hand of someone who holds nothing."""
    empty = world.with_person(scene, holding="nothing")
    thing = rng.choice(world.HANDHELD)
    return Case(empty, world.with_person(empty, holding=thing), prompts.additions(thing), thing)


def without_glasses(scene: world.Scene, _: random.Random) -> Case:
    """No glasses on someone who wears them."""
    return Case(
        world.with_person(scene, glasses=True),
        world.with_person(scene, glasses=False),
        prompts.glasses_removals(),
        "no glasses",
    )


def elsewhere(scene: world.Scene, rng: random.Random) -> Case:
    """Another place, without the objects of the old one."""
    kind = rng.choice([kind for kind in world.BACKGROUNDS if kind != scene.background.kind])
    place = world.sample_background(rng, kind=kind)
    phrases = prompts.backgrounds(kind, place.colour)
    return Case(scene, replace(scene, background=place, props=()), phrases, place_of(place))


def reworded(scene: world.Scene, rng: random.Random) -> Case:
    """Another word on the shirt."""
    old, new = rng.sample(world.WORDS, 2)
    lettered = world.with_person(scene, shirt_text=old)
    return Case(lettered, world.with_person(lettered, shirt_text=new), prompts.word_changes(old, new), new)


def like_another(scene: world.Scene, rng: random.Random) -> Case:
    """The clothes' colours and the place of a second image from another kind of place."""
    kind = rng.choice([kind for kind in world.BACKGROUNDS if kind != scene.background.kind])
    reference = world.sample(rng, background=kind)
    model = world.person_of(reference)
    dressed = world.with_person(scene, shirt=model.shirt, trousers=model.trousers)
    truth = replace(dressed, background=reference.background, props=())
    return Case(scene, truth, prompts.reference_requests(), "like the reference", reference)


def shirt(_: Judge, case: Case, picture: np.ndarray) -> str:
    """The shirt's colour."""
    return measures.shirt_colour(picture, case.truth)


def held(judge: Judge, case: Case, picture: np.ndarray) -> str:
    """The object in either hand."""
    return judge.held([picture], [world.person_of(case.truth)])[0]


def glasses(judge: Judge, case: Case, picture: np.ndarray) -> str:
    """Whether there are glasses."""
    return "glasses" if judge.glasses([picture], [world.person_of(case.truth)])[0] else "no glasses"


def place(judge: Judge, _: Case, picture: np.ndarray) -> str:
    """Where it is."""
    return judge.places([picture])[0]


def word(_: Judge, case: Case, picture: np.ndarray) -> str:
    """The word on the shirt."""
    return measures.word(picture, case.truth)


def likeness(_: Judge, case: Case, picture: np.ndarray) -> str:
    """Whether the palette has come near the reference's."""
    if case.reference is None:
        raise ValueError("the case has no reference")
    reference, original = world.render(case.reference).rgb, world.render(case.scene).rgb
    before, after = (measures.palette_distance(rgb, reference) for rgb in (original, picture))
    return "like the reference" if after <= NEAR * before else "unlike the reference"


TASKS = {
    "appearance": Task("appearance_editing", "the shirt has the colour asked for", 95, recoloured, shirt, True),
    "add": Task("appearance_editing", "a hand holds the requested object", 85, handed, held, True),
    "remove": Task("appearance_editing", "the glasses are gone", 85, without_glasses, glasses, True),
    "scene": Task("semantic_editing", "shows the place asked for", 90, elsewhere, place, False),
    "text": Task("text_editing", "the shirt says the word asked for", 70, reworded, word, True),
    "several": Task(
        "multi_image_editing", "colours at least 40% nearer to the reference's", 85, like_another, likeness, False
    ),
}
"""By the name of their row."""
