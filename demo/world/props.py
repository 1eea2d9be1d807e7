"""Objects on the floor beside a person.

Drawn around (0, 0) on the floor, in hundredths of the height.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from demo.world.scene import Prop
from demo.world.svg import RGB, Sketch, darker, lighter, mix, paint

ACCENTS: tuple[RGB, ...] = ((214, 58, 52), (44, 104, 206), (242, 178, 38), (36, 156, 128))
METAL: RGB = (62, 66, 78)


def draw(sketch: Sketch, prop: Prop, width: float) -> None:
    """Draw the thing with its shadow into a drawing `width` units wide."""
    rng = random.Random(f"prop:{prop.kind}:{prop.seed}")
    floor = rng.uniform(84, 90)
    sketch.open(f'transform="translate({prop.position * width:.2f} {floor:.2f}) scale({prop.scale:.3f})"')
    DRAWERS[prop.kind](sketch, rng)
    sketch.close()


def exercise_equipment(sketch: Sketch, rng: random.Random) -> None:
    """A rack with dumbbells, or a stand with a barbell: dark frame, coloured weights."""
    accent = rng.choice(ACCENTS)
    sketch.shadow(0, 0.5, 23, 4)
    frame = sketch.linear((-18, 0), (18, 0), ((0, lighter(METAL, 0.25), 1), (1, darker(METAL, 0.25), 1)))
    if rng.random() < 0.5:
        _rack(sketch, frame, accent)
    else:
        _barbell(sketch, frame, accent)


def _rack(sketch: Sketch, frame: str, accent: RGB) -> None:
    for x in (-16, 16):
        sketch.line(((x, -1), (x * 0.86, -36)), frame, 3)
        sketch.line(((x - 3.5, -1), (x + 3.5, -1)), frame, 2.6)
    for y in (-10, -21, -32):
        sketch.line(((-15, y), (15, y)), frame, 2.4)
        for place in (-8.4, 0.0, 8.4):
            _small_dumbbell(sketch, place, y - 3.6, accent)


def _small_dumbbell(sketch: Sketch, x: float, y: float, accent: RGB) -> None:
    sketch.rect(x - 2, y - 0.8, 4, 1.6, paint((196, 200, 206)))
    for side in (-2.4, 2.4):
        sketch.rect(
            x + side - 1.3,
            y - 2.5,
            2.6,
            5,
            paint(accent),
            0.8,
            f'stroke="{paint(darker(accent, 0.45))}" stroke-width="0.5"',
        )


def _barbell(sketch: Sketch, frame: str, accent: RGB) -> None:
    for x in (-10, 10):
        sketch.line(((x, -1), (x, -40)), frame, 3.2)
        sketch.line(((x - 5, -1), (x + 5, -1)), frame, 2.8)
    sketch.line(((-10, -12), (10, -12)), frame, 2.4)
    sketch.line(((-24, -34), (24, -34)), paint((188, 192, 200)), 2)
    for side in (-1, 1):
        for offset, size in ((15.5, 9.5), (19.5, 7)):
            sketch.rect(
                side * offset - 1.6, -34 - size, 3.2, 2 * size, paint(accent), 1.2,
                f'stroke="{paint(darker(accent, 0.45))}" stroke-width="0.6"',
            )  # fmt: skip


def tree(sketch: Sketch, rng: random.Random) -> None:
    """A broad round tree."""
    leaf = mix((52, 134, 62), (112, 160, 52), rng.random())
    trunk: RGB = (116, 78, 50)
    sketch.shadow(0, 0.5, 18, 3.6)
    sketch.path(
        "M-3 0 C-2 -10 -2 -20 -2.4 -30 L2.4 -30 C2 -20 2 -10 3.4 0 Z",
        paint(trunk),
        f'stroke="{paint(darker(trunk, 0.4))}" stroke-width="0.6"',
    )
    crowns = ((-9, -36, 10), (9, -37, 10), (0, -47, 12), (0, -36, 11))
    for x, y, radius in crowns:
        sketch.ellipse(x, y, radius + 0.7, radius + 0.7, paint(darker(leaf, 0.4)))
    for x, y, radius in crowns:
        sketch.ellipse(x, y, radius, radius, paint(leaf))
    light = lighter(leaf, 0.28)
    sketch.ellipse(-5, -48, 7, 6, sketch.radial((0.5, 0.5), 0.5, ((0, light, 0.9), (1, light, 0)), of_shape=True))
    sketch.ellipse(-11, -38, 6, 5, sketch.radial((0.5, 0.5), 0.5, ((0, light, 0.7), (1, light, 0)), of_shape=True))


def bench(sketch: Sketch, rng: random.Random) -> None:
    """A wooden park bench."""
    wood = mix((176, 112, 58), (204, 150, 92), rng.random())
    edge = f'stroke="{paint(darker(wood, 0.45))}" stroke-width="0.6"'
    sketch.shadow(0, 0.5, 23, 3.6)
    for x in (-15, 15):
        sketch.line(((x, -1), (x, -20)), paint(METAL), 2.4)
        sketch.line(((x - 2.5, -1), (x + 2.5, -1)), paint(METAL), 2)
    for y, height in ((-23, 4.4), (-17, 4.4)):
        sketch.rect(-20, y, 40, height, paint(wood), 1.2, edge)
    sketch.rect(-21, -11, 42, 4.2, paint(lighter(wood, 0.16)), 1.2, edge)


def ball(sketch: Sketch, rng: random.Random) -> None:
    """A big gymnastics ball."""
    accent = rng.choice(ACCENTS)
    radius = 12
    sketch.shadow(0, 0.5, 13, 3)
    shade = sketch.radial(
        (0.36, 0.32),
        0.75,
        ((0, lighter(accent, 0.55), 1), (0.45, accent, 1), (1, darker(accent, 0.4), 1)),
        of_shape=True,
    )
    sketch.ellipse(0, -radius, radius, radius, shade, f'stroke="{paint(darker(accent, 0.5))}" stroke-width="0.6"')
    for bend in (-5, 5):
        sketch.path(
            f"M{-radius + 0.8} {-radius} Q0 {-radius + bend} {radius - 0.8} {-radius}",
            "none",
            f'stroke="{paint(darker(accent, 0.35))}" stroke-width="0.7"',
        )


def street_lamp(sketch: Sketch, rng: random.Random) -> None:
    """A tall lamp with a warm globe."""
    pole = mix((48, 60, 64), (70, 62, 84), rng.random())
    glow: RGB = (255, 232, 160)
    sketch.shadow(0, 0.5, 8, 2.4)
    sketch.ellipse(0, -60, 15, 15, sketch.radial((0.5, 0.5), 0.5, ((0, glow, 0.75), (1, glow, 0)), of_shape=True))
    sketch.line(((0, -1), (0, -54)), paint(pole), 2.4)
    sketch.polygon(((-4, 0), (4, 0), (2, -6), (-2, -6)), paint(pole))
    sketch.ellipse(0, -60, 5.6, 6.2, paint(lighter(glow, 0.4)), f'stroke="{paint(pole)}" stroke-width="1"')
    sketch.polygon(((-6, -65), (6, -65), (0, -70)), paint(pole))


def parasol(sketch: Sketch, rng: random.Random) -> None:
    """A striped beach parasol."""
    accent = rng.choice(ACCENTS)
    edge = f'stroke="{paint(darker(accent, 0.45))}" stroke-width="0.6"'
    sketch.shadow(0, 0.5, 17, 3)
    sketch.line(((0, -1), (0, -46)), paint((214, 208, 196)), 1.8)
    sketch.path("M-23 -34 C-20 -52 20 -52 23 -34 Z", paint((246, 240, 228)), edge)
    for left, right, top_left, top_right in ((-23, -13.8, -8, -4), (-4.6, 4.6, -2, 2), (13.8, 23, 4, 8)):
        sketch.path(
            f"M{left} -34 Q{left * 0.86} -44 {top_left} -47 L{top_right} -47 Q{right * 0.86} -44 {right} -34 Z",
            paint(accent),
        )
    sketch.ellipse(0, -48, 1.4, 1.4, paint(accent))


DRAWERS: dict[str, Callable[[Sketch, random.Random], None]] = {
    "exercise equipment": exercise_equipment,
    "tree": tree,
    "bench": bench,
    "ball": ball,
    "street lamp": street_lamp,
    "parasol": parasol,
}
