"""From a scene to pixels, and to the truth about them.

The person's alpha and the masks of its parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from demo.world import backgrounds, props
from demo.world.figure import FEET, PARTS, Figure
from demo.world.scene import Scene
from demo.world.svg import Sketch


@dataclass(frozen=True, eq=False)
class Rendered:
    """A drawn scene.

    `rgb` is (H, W, 3) uint8. `alpha` is (H, W) uint8: the person's share of each pixel, held objects included. `parts`
    is empty unless requested; the parts of the person add up to `alpha`, "props" are the visible objects behind.
    """

    rgb: np.ndarray
    alpha: np.ndarray
    parts: dict[str, np.ndarray]


def render(scene: Scene, *, parts: bool = False) -> Rendered:
    """Draw the scene. The same scene gives the same pixels."""
    ground = _ground(scene, shadow=True)
    if scene.person is None:
        nobody = np.zeros((scene.height, scene.width), np.uint8)
        return Rendered(ground, nobody, _parts(scene, nobody) if parts else {})
    sketch = Sketch()
    Figure(sketch, scene.person).draw(_units(scene))
    person = sketch.pixels(scene.width, scene.height)
    alpha = person[..., 3]
    rgb = _over(person[..., :3], ground, alpha)
    return Rendered(rgb, alpha, _parts(scene, alpha) if parts else {})


def render_background(scene: Scene) -> np.ndarray:
    """The scene without the person and their shadow, (H, W, 3) uint8; the props stay."""
    return _ground(scene, shadow=False)


def _ground(scene: Scene, *, shadow: bool) -> np.ndarray:
    sketch = Sketch()
    backgrounds.draw(sketch, scene.background, _units(scene))
    for prop in scene.props:
        props.draw(sketch, prop, _units(scene))
    if shadow and scene.person is not None:
        size = scene.person.scale
        sketch.shadow(scene.person.position * _units(scene), FEET + 2.2, 23 * size, 4.2 * size)
    return sketch.pixels(scene.width, scene.height)[..., :3]


def _parts(scene: Scene, alpha: np.ndarray) -> dict[str, np.ndarray]:
    """Each part's share of every pixel, painted three parts at a time as RGB."""
    masks = {part: np.zeros_like(alpha) for part in PARTS}
    if scene.person is not None:
        for first in range(0, len(PARTS), 3):
            names = PARTS[first : first + 3]
            flat = dict.fromkeys(PARTS, (0, 0, 0))
            flat |= {name: ((255, 0, 0), (0, 255, 0), (0, 0, 255))[index] for index, name in enumerate(names)}
            sketch = Sketch()
            Figure(sketch, scene.person, flat).draw(_units(scene))
            pixels = sketch.pixels(scene.width, scene.height).astype(np.uint16)
            for index, name in enumerate(names):
                masks[name] = _product(pixels[..., index], pixels[..., 3])
    sketch = Sketch()
    for prop in scene.props:
        props.draw(sketch, prop, _units(scene))
    seen = sketch.pixels(scene.width, scene.height)[..., 3].astype(np.uint16)
    masks["props"] = _product(seen, 255 - alpha.astype(np.uint16))
    return masks


def _over(above: np.ndarray, below: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    weight = alpha[..., None].astype(np.uint16)
    mixed: np.ndarray = (above * weight + below * (255 - weight) + 127) // 255
    return mixed.astype(np.uint8)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    product: np.ndarray = (a * b + 127) // 255
    return product.astype(np.uint8)


def _units(scene: Scene) -> float:
    """The width of the drawing, whose height is 100 units."""
    return 100 * scene.width / scene.height
