"""`python -m demo.world.samples`.

Write the sample pictures of `demo/samples`, a handful of held-out scenes.

Each is invented from a held-out seed and then given what the guide's examples ask about: blue sportswear, glasses, a
word on the shirt, an empty hand. One is a JPEG that a camera held sideways would have written.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from demo.world.render import render
from demo.world.scene import HELD_OUT_SEEDS, Scene, sample

FOLDER = Path(__file__).resolve().parents[1] / "samples"
ORIENTATION, TURN_BY_90 = 0x0112, 6


def scenes() -> dict[str, Scene]:
    """The scenes by the name of their file."""
    return {
        "blue-in-the-park.png": _scene(1, "park", shirt="blue", shirt_text="", trousers="black", holding="nothing"),
        "gym-shirt.png": _scene(2, "running track", shirt="white", shirt_text="GYM", pose="flexing", holding="nothing"),
        "glasses-at-the-beach.png": _scene(3, "beach", glasses=True, shirt="orange", trousers="blue", shirt_text=""),
        "dumbbell-by-the-wall.png": _scene(4, "brick wall", holding="dumbbell", shirt="yellow", pose="waving"),
        "in-the-gym.png": _scene(5, "gym", shirt="purple", shirt_text="TEAM", holding="water bottle", pose="arms out"),
        "wide-in-the-snow.png": _scene(6, "snowy mountains", width=384, shirt="red", shirt_text="RUN", trousers="grey"),
        "tall-at-night.jpg": _scene(
            7, "night city", height=384, shirt="pink", trousers="white", pose="hands on hips", position=0.42
        ),
        "turned.jpg": _scene(8, "plain", shirt="green", shirt_text="SPORT", glasses=True, pose="hands on hips"),
    }


def write(folder: Path) -> list[Path]:
    """Write them all; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, scene in scenes().items():
        picture = Image.fromarray(render(scene).rgb)
        if name == "turned.jpg":
            exif = Image.Exif()
            exif[ORIENTATION] = TURN_BY_90
            picture.transpose(Image.Transpose.ROTATE_90).save(folder / name, quality=92, exif=exif)
        else:
            picture.save(folder / name, quality=92, optimize=True)
        paths.append(folder / name)
    return paths


def _scene(number: int, background: str, *, width: int = 256, height: int = 256, **person: Any) -> Scene:
    rng = random.Random(HELD_OUT_SEEDS.start + number)
    scene = sample(rng, width=width, height=height, background=background)
    if scene.person is None:
        raise AssertionError("a sampled scene has a person")
    return replace(scene, person=replace(scene.person, **person), props=scene.props[:1])


if __name__ == "__main__":
    for path in write(FOLDER):
        print(path)
