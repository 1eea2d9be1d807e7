"""Jobs of the demo's world for the diffusion models themselves.

Each has a request, and the area that may be painted.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageFilter

from benchmarks.demo_quality.bench import FIRST_SEED
from benchmarks.demo_quality.qwen_tasks import TASKS
from demo import world
from demo.judge import Judge, place_of
from demo.world import prompts
from services.fill.spec import FillSpec
from services.qwen_edit.spec import QwenEditSpec

GROWN_PX = 16
"""The shipped chains' growth of the subject's mask."""

MARGIN = 128
NEGATIVE = "blurry, low quality, distorted, ugly, deformed"

Spec = FillSpec | QwenEditSpec


@dataclass(frozen=True)
class Case:
    """One job in full, as profile balanced runs it.

    inside: (H, W) bool, where its result counts. is_right: whether a picture, (H, W, 3) uint8, shows the requested
    edit.
    """

    spec: Spec
    inside: np.ndarray
    is_right: Callable[[Judge, np.ndarray], bool]


def background(number: int) -> Case:
    """FLUX: another place behind the person."""
    rng, scene = _scene(number, "place")
    kind = rng.choice([kind for kind in world.BACKGROUNDS if kind != scene.background.kind])
    place = world.sample_background(rng, kind=kind)
    rendered = world.render(scene)
    phrase = rng.choice(prompts.backgrounds(place.kind, place.colour))

    def is_right(judge: Judge, picture: np.ndarray) -> bool:
        return judge.places([picture])[0] == place_of(place)

    return _fill(rendered.rgb, 255 - rendered.alpha, phrase.english, 0.8, number, is_right)


def outpainting(number: int) -> Case:
    """FLUX: half as much picture again at one side, with something in it."""
    rng, scene = _scene(number, "outpainting")
    side, kind = rng.choice(("left", "right")), rng.choice(world.PROPS)
    picture = world.render(replace(scene, props=())).rgb
    width = ((0, 0), (MARGIN, 0) if side == "left" else (0, MARGIN), (0, 0))
    mask = np.pad(np.zeros(picture.shape[:2], np.uint8), width[:2], constant_values=255)

    def is_right(judge: Judge, picture: np.ndarray) -> bool:
        extension = picture[:, :MARGIN] if side == "left" else picture[:, -MARGIN:]
        return kind in judge.props([extension])[0]

    wide, phrase = np.pad(picture, width, mode="reflect"), prompts.extend(kind, side, rng)
    return _fill(wide, mask, phrase.english, 1.0, number, is_right)


def box(number: int) -> Case:
    """FLUX: the same place again, within a box over a fifth of the picture."""
    rng, scene = _scene(number, "box")
    rendered = world.render(scene)
    height, width = rendered.alpha.shape
    side = round((0.2 * height * width) ** 0.5)
    mask = np.zeros((height, width), np.uint8)
    top, left = rng.randrange(height - side), rng.choice((0, width - side))
    mask[top : top + side, left : left + side] = 255
    phrase = rng.choice(prompts.backgrounds(scene.background.kind, scene.background.colour))

    def is_right(judge: Judge, picture: np.ndarray) -> bool:
        return judge.places([picture])[0] == place_of(scene.background)

    return _fill(rendered.rgb, mask, phrase.english, 1.0, number, is_right)


def by_instruction(task: str) -> Callable[[int], Case]:
    """Qwen: a task of `benchmarks.demo_quality` with the shipped chains' mask."""

    def case(number: int) -> Case:
        rng, scene = _scene(number, task)
        asked = TASKS[task].case(scene, rng)
        rendered = world.render(asked.scene)
        mask = _grown(rendered.alpha) if TASKS[task].keeps_background else None
        references = (world.render(asked.reference).rgb,) if asked.reference else ()
        phrase = asked.phrases[number % len(asked.phrases)]
        spec = QwenEditSpec(
            images=(rendered.rgb, *references),
            prompt=phrase.korean,
            negative_prompt=NEGATIVE,
            true_cfg_scale=3.5,
            steps=28,
            strength=0.8,
            seed=number,
            mask=mask,
        )
        inside = np.ones(rendered.alpha.shape, bool) if mask is None else mask > 0
        return Case(spec, inside, lambda judge, picture: TASKS[task].seen(judge, asked, picture) == asked.wanted)

    return case


FILL_CASES: dict[str, Callable[[int], Case]] = {"background": background, "outpainting": outpainting, "box": box}
QWEN_CASES = {name: by_instruction(name) for name in TASKS}


def fast(spec: Spec, lora: str) -> Spec:
    """The same job as profile fast runs it."""
    if isinstance(spec, FillSpec):
        return replace(spec, steps=8, lora=lora)
    return replace(spec, steps=8, strength=1.0, true_cfg_scale=1.0, lora=lora)


def _scene(number: int, purpose: str) -> tuple[random.Random, world.Scene]:
    seed = FIRST_SEED + number
    return random.Random(f"{purpose}:{seed}"), world.sample(random.Random(seed))


def _fill(
    image: np.ndarray,
    mask: np.ndarray,
    prompt: str,
    strength: float,
    seed: int,
    is_right: Callable[[Judge, np.ndarray], bool],
) -> Case:
    spec = FillSpec(
        image=image,
        mask=mask,
        prompt=prompt,
        negative_prompt=None,
        negative_scale=3.0,
        steps=28,
        guidance_scale=3.5,
        strength=strength,
        seed=seed,
    )
    return Case(spec, mask > 0, is_right)


def _grown(alpha: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(alpha).filter(ImageFilter.MaxFilter(2 * GROWN_PX + 1)))
