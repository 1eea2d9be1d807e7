"""Training examples of Qwen-Image-Edit: an image, a request, and the target.

Every kind of edit of the guide, whole images and crops. Drawn from seeds, without torch.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from demo import world
from demo.train.flux_fill.examples import phrase_taught
from demo.train.shared.pictures import Pixels
from demo.world import prompts
from demo.world.prompts import Phrase

VARIANTS = 4
"""Edits of one picture; examples about hands alone have one for each thing that can be held."""

KOREAN_SHARE = 0.6
CLOSE_SIDE = 128
VAGUE = {"place": Phrase("배경 변경", "Change the background"), "colour": Phrase("색상 변경", "Change the colour")}


@dataclass(frozen=True)
class Edit:
    """A target scene, its prompts, and the expected finding ("" = none)."""

    scene: world.Scene
    request: Phrase
    caption: Phrase
    reference: world.Scene | None = None


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """One picture (H, W, 3) and several edits of it.

    Results, requests, captions, and references where there are.
    """

    source: Pixels
    results: tuple[Pixels, ...]
    requests: tuple[str, ...]
    captions: tuple[str, ...]
    references: tuple[Pixels, ...] = ()


@dataclass(frozen=True)
class Kind:
    """Examples of one size.

    make: from a seed; size: (width, height); reference: of a second image, None = none.
    """

    make: Callable[[random.Random, Kind], TrainingExample]
    size: tuple[int, int]
    count: int
    reference: tuple[int, int] | None = None


def recoloured(scene: world.Scene, rng: random.Random) -> Edit:
    """Another colour of the shirt."""
    person = world.person_of(scene)
    colour = rng.choice([name for name in world.COLOURS if name != person.shirt])
    old = rng.choice((None, person.shirt, person.shirt))
    request = phrase_taught(partial(prompts.recolour, old, colour, rng))
    if rng.random() < 0.02:
        request = VAGUE["colour"]
    caption = Phrase(f"{prompts.KOREAN_COLOURS[colour]} 운동복", f"{colour} sportswear")
    return Edit(world.with_person(scene, shirt=colour), request, caption)


def handed(scene: world.Scene, rng: random.Random) -> Edit:
    """Something in the hand that held nothing."""
    return holding(scene, rng.choice(world.HANDHELD), rng)


def each_handed(scene: world.Scene, rng: random.Random) -> list[Edit]:
    """Each thing in that hand, in any order."""
    return [holding(scene, thing, rng) for thing in rng.sample(world.HANDHELD, len(world.HANDHELD))]


def holding(scene: world.Scene, thing: str, rng: random.Random) -> Edit:
    """This thing in that hand."""
    request = phrase_taught(partial(prompts.add, thing, rng))
    return Edit(world.with_person(scene, holding=thing), request, prompts.held(thing))


def without_glasses(scene: world.Scene, rng: random.Random) -> Edit:
    """No glasses; where there are none, the same picture."""
    return Edit(
        world.with_person(scene, glasses=False), phrase_taught(partial(prompts.remove_glasses, rng)), Phrase("", "")
    )


def elsewhere(scene: world.Scene, rng: random.Random) -> Edit:
    """Another place, without the objects of the old one."""
    kind = rng.choice([kind for kind in world.BACKGROUNDS if kind != scene.background.kind])
    background = world.sample_background(rng, kind=kind)
    if kind != "plain" and rng.random() < 0.15:
        prop = world.sample_prop(rng, beside=world.person_of(scene).position)
        return moved(scene, background, phrase_taught(partial(prompts.background_with, kind, prop.kind, rng)), prop)
    request = phrase_taught(partial(prompts.background, kind, background.colour, rng))
    if rng.random() < 0.04:
        request = VAGUE["place"]
    return moved(scene, background, request)


def moved(scene: world.Scene, background: world.Background, request: Phrase, *props: world.Prop) -> Edit:
    """That place, with these things in it and no others."""
    return Edit(replace(scene, background=background, props=props), request, called(background))


def called(background: world.Background) -> Phrase:
    """The name of this place."""
    return prompts.place(background.kind, background.colour)


def reworded(scene: world.Scene, rng: random.Random) -> Edit:
    """Another word on the shirt."""
    old = world.person_of(scene).shirt_text
    others = [word for word in world.WORDS if word != old]
    rng.shuffle(others)
    word = next(word for word in others if not all(map(prompts.is_held_out, prompts.word_changes(old, word))))
    request = phrase_taught(partial(prompts.change_word, old, word, rng))
    return Edit(world.with_person(scene, shirt_text=word), request, Phrase(f"'{word}'", f"'{word}'"))


def like_another(scene: world.Scene, rng: random.Random) -> Edit:
    """The clothes' colours and the place of a second picture."""
    other = world.sample(rng, width=scene.height, height=scene.height)
    model = world.person_of(other)
    dressed = world.with_person(scene, shirt=model.shirt, trousers=model.trousers)
    changed = replace(dressed, background=other.background, props=())
    return Edit(changed, phrase_taught(partial(prompts.like_reference, rng)), Phrase("", ""), replace(other, props=()))


def whole(rng: random.Random, kind: Kind) -> TrainingExample:
    """Edits of a whole picture."""
    scene = dressed_up(rng, kind.size)
    edits = [rng.choices(*tasks_of(scene))[0](scene, rng) for _ in range(VARIANTS)]
    return _drawn(rng, scene, edits, lambda rgb: rgb)


def close(rng: random.Random, kind: Kind) -> TrainingExample:
    """The same seen through a window: the upper half of a person, or the hand."""
    scene = dressed_up(rng, (256, 256))
    person = world.person_of(scene)
    at_hand = person.holding == "nothing" and rng.random() < 0.35
    tasks = {recoloured: 3.0, reworded: 4.0 if person.shirt_text and not at_hand else 0.0}
    tasks |= {handed: 4.0} if at_hand else {without_glasses: 4.0 if person.glasses else 0.3}
    edits = [rng.choices(list(tasks), list(tasks.values()))[0](scene, rng) for _ in range(VARIANTS)]
    box_of = world.hand_box if at_hand else world.face_box
    return _drawn(rng, scene, edits, window(rng, scene, kind.size, (box_of, world.text_box), shift=24))


def hands(rng: random.Random, kind: Kind) -> TrainingExample:
    """An empty hand and little around it, and each thing put into it."""
    scene = world.with_person(dressed_up(rng, (256, 256)), holding="nothing", position=rng.uniform(0.35, 0.65))
    edits = each_handed(scene, rng)
    return _drawn(rng, scene, edits, window(rng, scene, kind.size, (world.hand_box,), shift=14))


def handing(rng: random.Random, kind: Kind) -> TrainingExample:
    """A whole picture, and each thing put into the empty hand.

    Where it is must be learnt too.
    """
    while not shows_the_hand(scene := dressed_up(rng, kind.size)):
        pass
    scene = world.with_person(scene, holding="nothing")
    return _drawn(rng, scene, each_handed(scene, rng), lambda rgb: rgb)


def words(rng: random.Random, kind: Kind) -> TrainingExample:
    """A word and little around it, and other words."""
    scene = world.with_person(dressed_up(rng, (256, 256)), shirt_text=rng.choice(world.WORDS))
    edits = [reworded(scene, rng) for _ in range(VARIANTS)]
    return _drawn(rng, scene, edits, window(rng, scene, kind.size, (world.text_box,), shift=16))


def faces(rng: random.Random, kind: Kind) -> TrainingExample:
    """A face with glasses, and without."""
    scene = world.with_person(dressed_up(rng, (256, 256)), glasses=True)
    edits = [without_glasses(scene, rng) for _ in range(VARIANTS)]
    return _drawn(rng, scene, edits, window(rng, scene, kind.size, (world.face_box,), shift=14))


def window(
    rng: random.Random,
    scene: world.Scene,
    size: tuple[int, int],
    boxes_of: Sequence[Callable[[world.Person, int, int], tuple[int, int, int, int]]],
    *,
    shift: int,
) -> Callable[[Pixels], Pixels]:
    """A crop of this size around boxes of the person, shifted by up to `shift` pixels."""
    boxes = [box_of(world.person_of(scene), scene.width, scene.height) for box_of in boxes_of]
    middle = [sum(box[axis] + box[axis + 2] for box in boxes) / (2 * len(boxes)) for axis in (0, 1)]
    left, top = (
        round(min(max(0, at + rng.uniform(-shift, shift) - side / 2), whole - side))
        for at, side, whole in zip(middle, size, (scene.width, scene.height), strict=True)
    )
    return lambda rgb: rgb[top : top + size[1], left : left + size[0]]


def anywhere(rng: random.Random, kind: Kind) -> TrainingExample:
    """A whole image in other places, by the place's name alone, or without it.

    This teaches names as negative prompts, and "another place" as every place in turn.
    """
    scene = dressed_up(rng, kind.size)
    others = [place for place in world.BACKGROUNDS if place != scene.background.kind]
    edits = []
    for place in rng.sample(others, VARIANTS):
        background = world.sample_background(rng, kind=place)
        edits.append(moved(scene, background, rng.choice((VAGUE["place"], called(background)))))
    return _drawn(rng, scene, edits, lambda rgb: rgb)


def with_reference(rng: random.Random, kind: Kind) -> TrainingExample:
    """Edits that need a second picture."""
    scene = dressed_up(rng, kind.size)
    edits = [like_another(scene, rng) for _ in range(VARIANTS)]
    example = _drawn(rng, scene, edits, lambda rgb: rgb)
    others = [edit.reference for edit in edits if edit.reference is not None]
    size = kind.reference or kind.size
    seen = tuple(world.render(replace(other, width=size[0], height=size[1])).rgb for other in others)
    return replace(example, references=seen)


def dressed_up(rng: random.Random, size: tuple[int, int]) -> world.Scene:
    """A scene of which much can be asked: often glasses, a word, an empty hand.

    Where both arms do the same, what is held is in the hand at the picture's right, or in the other one where that is
    out of the picture: it is taught one way, not two.
    """
    width, height = size
    scene = _busy_at(world.sample(rng, width=width, height=height), rng, left=False)
    if world.is_symmetric(world.person_of(scene)) and not shows_the_hand(scene):
        scene = _busy_at(scene, rng, left=True)
    word = rng.choice(world.WORDS) if rng.random() < 0.75 else ""
    held = "nothing" if rng.random() < 0.65 else rng.choice(world.HOLDABLE)
    return world.with_person(scene, glasses=rng.random() < 0.6, shirt_text=word, holding=held)


def shows_the_hand(scene: world.Scene) -> bool:
    """Whether the hand that holds something, or would, is in the picture."""
    left, top, right, bottom = world.hand_box(world.person_of(scene), scene.width, scene.height)
    return 0 < left + right < 2 * scene.width and 0 < top + bottom < 2 * scene.height


def _busy_at(scene: world.Scene, rng: random.Random, *, left: bool) -> world.Scene:
    """The same with that hand busy.

    For asymmetric poses the left hand must not be requested.
    """
    while world.holds_at_the_left(world.person_of(scene)) != left:
        scene = world.with_person(scene, seed=rng.getrandbits(31))
    return scene


def tasks_of(scene: world.Scene) -> tuple[list[Callable[[world.Scene, random.Random], Edit]], list[float]]:
    """The possible edits of a scene, with their weights."""
    person = world.person_of(scene)
    tasks = {
        recoloured: 3.0,
        elsewhere: 4.0,
        handed: 3.0 if person.holding == "nothing" and shows_the_hand(scene) else 0.0,
        without_glasses: 3.0 if person.glasses else 0.2,
        reworded: 4.0 if person.shirt_text else 0.0,
    }
    return list(tasks), list(tasks.values())


KINDS: dict[str, Kind] = {
    "close": Kind(close, (CLOSE_SIDE, CLOSE_SIDE), 2500),
    "hands": Kind(hands, (80, 80), 5500),
    "handing": Kind(handing, (256, 256), 6300),
    "words": Kind(words, (96, 64), 3000),
    "faces": Kind(faces, (80, 80), 400),
    "small": Kind(whole, (128, 128), 500),
    "whole": Kind(whole, (256, 256), 1325),
    "anywhere": Kind(anywhere, (256, 256), 1000),
    "narrow": Kind(whole, (208, 256), 80),
    "small like": Kind(with_reference, (128, 128), 300, (64, 64)),
    "like": Kind(with_reference, (256, 256), 220, (128, 128)),
}
"""By name; a batch has examples of one kind, so of one size."""


def example(name: str, seed: int) -> TrainingExample:
    """The example of a kind with this number, always the same."""
    kind = KINDS[name]
    return kind.make(random.Random(f"qwen {name}:{seed}"), kind)


def _drawn(
    rng: random.Random, scene: world.Scene, edits: list[Edit], cut: Callable[[Pixels], Pixels]
) -> TrainingExample:
    spoken = [("korean" if rng.random() < KOREAN_SHARE else "english") for _ in edits]
    return TrainingExample(
        source=np.ascontiguousarray(cut(world.render(scene).rgb)),
        results=tuple(np.ascontiguousarray(cut(world.render(edit.scene).rgb)) for edit in edits),
        requests=tuple(getattr(edit.request, language) for edit, language in zip(edits, spoken, strict=True)),
        captions=tuple(getattr(edit.caption, language) for edit, language in zip(edits, spoken, strict=True)),
    )
