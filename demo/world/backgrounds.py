"""The places, in units of a hundredth of the picture's height.

Clear gradients and a handful of big shapes each.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from demo.world.scene import COLOURS, Background
from demo.world.svg import RGB, Point, Sketch, darker, lighter, mix, moved, paint

WHITE: RGB = (255, 255, 255)


def draw(sketch: Sketch, background: Background, width: float) -> None:
    """Fill a drawing `width` units wide and 100 high."""
    rng = random.Random(f"background:{background.kind}:{background.colour}:{background.seed}")
    if background.kind == "plain":
        plain(sketch, rng, width, COLOURS[background.colour])
    else:
        DRAWERS[background.kind](sketch, rng, width)


def plain(sketch: Sketch, rng: random.Random, width: float, colour: RGB) -> None:
    """A studio backdrop: one colour, lit softly from somewhere above."""
    light = (width * rng.uniform(0.25, 0.75), rng.uniform(15, 45))
    strength = rng.uniform(0.12, 0.24)
    stops = ((0, lighter(colour, strength), 1), (0.5, colour, 1), (1, darker(colour, 0.16), 1))
    sketch.rect(0, 0, width, 100, sketch.radial(light, max(width, 100) * 0.95, stops))


def gym(sketch: Sketch, rng: random.Random, width: float) -> None:
    """Windows, a coloured band, wall bars, a punching bag, lamps, a wooden floor."""
    wall = mix((226, 226, 222), (206, 216, 226), rng.random())
    accent = rng.choice(((222, 74, 56), (40, 120, 196), (240, 172, 40), (40, 156, 132)))
    horizon = rng.uniform(64, 70)
    _band(sketch, 0, horizon, width, lighter(wall, 0.3), darker(wall, 0.06))
    sketch.rect(0, horizon - 20, width, 6, paint(accent))
    sketch.rect(0, horizon - 14, width, 14, paint(darker(wall, 0.12)))
    _windows(sketch, rng, width, horizon - 46)
    bars = rng.uniform(0, 0.25) * width if rng.random() < 0.5 else rng.uniform(0.62, 0.85) * width
    _wall_bars(sketch, bars, horizon)
    _band(sketch, horizon, 100, width, (222, 176, 122), (178, 122, 74))
    for share in (0.3, 0.62):
        y = horizon + (100 - horizon) * share
        sketch.line(((0, y), (width, y)), paint((168, 116, 72)), 0.6, 'stroke-opacity="0.6"')
    sketch.rect(0, horizon - 1, width, 2, paint((240, 240, 238)))
    bag = width * (rng.uniform(0.72, 0.9) if bars < width / 2 else rng.uniform(0.1, 0.28))
    _punching_bag(sketch, bag, accent)


def _windows(sketch: Sketch, rng: random.Random, width: float, top: float) -> None:
    pitch = rng.uniform(27, 33)
    glass = sketch.linear((0, top), (0, top + 23), ((0, (150, 202, 240), 1), (1, (220, 240, 250), 1)))
    x = rng.uniform(-pitch, 0)
    while x < width:
        sketch.rect(x, top, pitch - 6, 23, glass, 1, f'stroke="{paint((104, 112, 124))}" stroke-width="1.6"')
        sketch.line(((x + (pitch - 6) / 2, top), (x + (pitch - 6) / 2, top + 23)), paint((104, 112, 124)), 1.2)
        sketch.rect(
            x + 2,
            6,
            pitch - 10,
            3,
            paint((255, 252, 232)),
            1.5,
            f'stroke="{paint((190, 190, 186))}" stroke-width="0.5"',
        )
        x += pitch


def _wall_bars(sketch: Sketch, x: float, horizon: float) -> None:
    wood: RGB = (190, 132, 80)
    top = horizon - 50
    sketch.rect(x, top, 18, 50, paint((236, 230, 220)))
    for step in range(7):
        sketch.line(((x, top + 3.5 + step * 7), (x + 18, top + 3.5 + step * 7)), paint(wood), 2)
    for side in (x, x + 18):
        sketch.line(((side, top), (side, horizon)), paint(darker(wood, 0.2)), 2.6)


def _punching_bag(sketch: Sketch, x: float, accent: RGB) -> None:
    sketch.line(((x, 0), (x, 22)), paint((96, 100, 110)), 1)
    shade = sketch.linear((x - 6, 0), (x + 6, 0), ((0, lighter((70, 72, 84), 0.25), 1), (1, (38, 38, 48), 1)))
    sketch.rect(x - 6, 21, 12, 32, shade, 3.5)
    sketch.rect(x - 6, 28, 12, 5, paint(accent))


def park(sketch: Sketch, rng: random.Random, width: float) -> None:
    """Sky with clouds, hills, round trees, a lawn with a path."""
    horizon = rng.uniform(58, 66)
    _band(sketch, 0, horizon + 4, width, (104, 178, 236), (206, 234, 248))
    _clouds(sketch, rng, width, WHITE)
    for _ in range(3):
        hill = mix((128, 186, 110), (104, 170, 120), rng.random())
        sketch.ellipse(rng.uniform(0, width), horizon + 6, rng.uniform(30, 48), rng.uniform(13, 22), paint(hill))
    _band(sketch, horizon, 100, width, (134, 196, 88), (84, 156, 62))
    bend = rng.uniform(0.2, 0.8) * width
    near, middle = horizon + 12, horizon + 18
    sketch.path(
        f"M{bend - 2:.1f} {horizon:.1f} C{bend + 8:.1f} {near:.1f} {bend - 20:.1f} {middle:.1f} {bend - 26:.1f} 100 "
        f"L{bend + 12:.1f} 100 C{bend + 2:.1f} {middle + 2:.1f} {bend + 18:.1f} {near:.1f} "
        f"{bend + 3:.1f} {horizon:.1f} Z",
        paint((226, 206, 162)),
    )
    for x in _spread(rng, width, 25):
        _round_tree(
            sketch,
            x,
            horizon + rng.uniform(2, 7),
            rng.uniform(0.8, 1.15),
            mix((58, 136, 66), (96, 156, 58), rng.random()),
        )


def _round_tree(sketch: Sketch, x: float, floor: float, size: float, leaf: RGB) -> None:
    sketch.rect(x - 1.7 * size, floor - 20 * size, 3.4 * size, 20 * size, paint((118, 82, 54)), 1)
    shade = sketch.radial(
        (0.36, 0.3), 0.8, ((0, lighter(leaf, 0.3), 1), (0.5, leaf, 1), (1, darker(leaf, 0.3), 1)), of_shape=True
    )
    sketch.ellipse(x, floor - 29 * size, 11.5 * size, 13 * size, shade)


def beach(sketch: Sketch, rng: random.Random, width: float) -> None:
    """Sky, sun, sea with a sail, sand, perhaps a palm at the edge."""
    horizon = rng.uniform(42, 50)
    shore = rng.uniform(63, 70)
    _band(sketch, 0, horizon, width, (84, 176, 240), (200, 236, 250))
    sun = (rng.uniform(0.12, 0.88) * width, rng.uniform(12, 22))
    sketch.ellipse(
        *sun,
        20,
        20,
        sketch.radial((0.5, 0.5), 0.5, ((0, (255, 244, 190), 0.9), (1, (255, 244, 190), 0)), of_shape=True),
    )
    sketch.ellipse(*sun, 8, 8, paint((255, 226, 110)))
    _clouds(sketch, rng, width, WHITE)
    _band(sketch, horizon, shore + 3, width, (28, 124, 192), (86, 196, 214))
    sail = rng.uniform(0.1, 0.9) * width
    sketch.polygon(((sail, horizon - 11), (sail, horizon + 2), (sail + 8, horizon + 2)), paint(WHITE))
    sketch.polygon(
        ((sail - 6, horizon + 2.5), (sail + 9, horizon + 2.5), (sail + 6, horizon + 5.5), (sail - 3, horizon + 5.5)),
        paint((206, 70, 60)),
    )
    wave = "".join(f" q{width / 8:.2f} {2.5 if i % 2 else -2.5} {width / 4:.2f} 0" for i in range(4))
    sketch.path(f"M0 {shore:.2f}{wave} V100 H0 Z", paint((248, 250, 246)))
    sand = sketch.linear((0, shore), (0, 100), ((0, (248, 222, 164), 1), (1, (226, 188, 122), 1)))
    sketch.path(f"M0 {shore + 1.8:.2f}{wave} V100 H0 Z", sand)
    if rng.random() < 0.6:
        _palm(sketch, width * rng.choice((0.08, 0.92)), shore + 8, rng)


def _palm(sketch: Sketch, x: float, floor: float, rng: random.Random) -> None:
    lean = rng.uniform(-6, 6)
    trunk = f"M-2.4 0 Q0 -26 {lean - 1.2:.2f} -46 L{lean + 1.2:.2f} -46 Q3 -26 2.4 0 Z"
    sketch.path(moved(trunk, (x, floor)), paint((150, 106, 66)))
    for dx, dy in ((-17, 6), (-14, -5), (-3, -11), (12, -7), (17, 5)):
        leaf = f"M0 0 Q{dx * 0.5:.2f} {dy - 6} {dx} {dy} Q{dx * 0.55:.2f} {dy} 0 2 Z"
        sketch.path(moved(leaf, (x + lean, floor - 46)), paint((46, 140, 76)))


def night_city(sketch: Sketch, rng: random.Random, width: float) -> None:
    """A dark sky with a moon, towers with lit windows, a street in the glow of lamps."""
    horizon = rng.uniform(68, 74)
    top = mix((14, 16, 48), (34, 16, 60), rng.random())
    _band(sketch, 0, horizon, width, top, mix((76, 60, 130), (120, 62, 110), rng.random()))
    moon = (rng.uniform(0.1, 0.9) * width, rng.uniform(9, 18))
    sketch.ellipse(
        *moon,
        14,
        14,
        sketch.radial((0.5, 0.5), 0.5, ((0, (250, 240, 200), 0.5), (1, (250, 240, 200), 0)), of_shape=True),
    )
    sketch.ellipse(*moon, 6, 6, paint((250, 242, 208)))
    x = rng.uniform(-14, -2)
    while x < width:
        tower = rng.uniform(18, 25)
        _tower(sketch, rng, x, horizon - rng.uniform(26, 54), tower, horizon)
        x += tower + rng.uniform(-1, 3)
    _band(sketch, horizon, 100, width, (62, 58, 82), (36, 34, 54))
    sketch.rect(0, horizon, width, 3, paint((104, 98, 124)))
    dash = rng.uniform(0, 20)
    while dash < width:
        sketch.rect(dash, horizon + 12, 11, 2, paint((232, 206, 110)), 1)
        dash += 24


def _tower(sketch: Sketch, rng: random.Random, x: float, top: float, width: float, floor: float) -> None:
    body = mix((26, 28, 58), (48, 42, 78), rng.random())
    sketch.rect(x, top, width, floor - top, paint(body))
    columns = 3 if width > 20 else 2
    pitch = width / columns
    y = top + 3.5
    while y < floor - 8:
        for column in range(columns):
            lit = rng.random() < 0.6
            sketch.rect(
                x + column * pitch + pitch * 0.2, y, pitch * 0.6, 5.2,
                paint((255, 214, 110) if lit else lighter(body, 0.1)), 0.5,
            )  # fmt: skip
        y += 9


def brick_wall(sketch: Sketch, rng: random.Random, width: float) -> None:
    """Big bricks above a pavement."""
    brick = mix((178, 86, 60), (156, 70, 66), rng.random())
    floor = rng.uniform(76, 82)
    _band(sketch, 0, floor, width, mix((214, 196, 180), brick, 0.1), mix((190, 172, 158), brick, 0.1))
    tones = [lighter(brick, 0.1), brick, darker(brick, 0.12)]
    row, y = 0, rng.uniform(-8, 0)
    shift = rng.uniform(0, 18)
    while y < floor:
        x = -18 + (shift + (9 if row % 2 else 0)) % 18 - 18
        while x < width:
            sketch.rect(x, y, 16.6, 7.6, paint(rng.choice(tones)), 0.8)
            x += 18
        y += 9
        row += 1
    _band(sketch, floor, 100, width, (158, 156, 158), (122, 120, 126))
    sketch.rect(0, floor, width, 2.4, paint((188, 186, 188)))


def snowy_mountains(sketch: Sketch, rng: random.Random, width: float) -> None:
    """A pale sky, blue peaks with snow on them, firs, a field of snow."""
    horizon = rng.uniform(60, 67)
    _band(sketch, 0, horizon, width, (146, 190, 232), (232, 242, 250))
    step = rng.uniform(34, 42)
    x = rng.uniform(-step, 0)
    while x < width + step:
        _peak(
            sketch,
            x,
            horizon + 2,
            rng.uniform(24, 32),
            rng.uniform(34, 52),
            mix((88, 112, 156), (120, 138, 172), rng.random()),
        )
        x += step
    _band(sketch, horizon, 100, width, (250, 252, 255), (208, 222, 240))
    sketch.ellipse(rng.uniform(0, width), horizon + 9, 46, 6, paint((255, 255, 255)), 'fill-opacity="0.8"')
    for x in _spread(rng, width, 26):
        _fir(sketch, x, horizon + rng.uniform(3, 8), rng.uniform(0.8, 1.2))


def _peak(sketch: Sketch, x: float, floor: float, half: float, height: float, rock: RGB) -> None:
    sketch.polygon(((x - half, floor), (x, floor - height), (x + half, floor)), paint(rock))
    sketch.polygon(((x, floor - height), (x + half, floor), (x + half * 0.15, floor)), paint(darker(rock, 0.2)))
    cap = 0.42
    left: Point = (x - half * cap, floor - height * (1 - cap))
    right: Point = (x + half * cap, floor - height * (1 - cap))
    sketch.polygon(
        (
            (x, floor - height),
            right,
            (x + half * 0.2, right[1] - 4),
            (x, right[1] + 3),
            (x - half * 0.2, left[1] - 3),
            left,
        ),
        paint((250, 252, 255)),
    )


def _fir(sketch: Sketch, x: float, floor: float, size: float) -> None:
    sketch.rect(x - size, floor - 4 * size, 2 * size, 4 * size, paint((92, 66, 50)))
    for level, half in ((4, 8), (11, 6.4), (18, 4.6)):
        y = floor - level * size
        sketch.polygon(((x - half * size, y), (x, y - 11 * size), (x + half * size, y)), paint((38, 98, 84)))
        sketch.polygon(
            ((x - half * 0.5 * size, y - 5.5 * size), (x, y - 11 * size), (x + half * 0.5 * size, y - 5.5 * size)),
            paint((240, 246, 252)),
        )


def running_track(sketch: Sketch, rng: random.Random, width: float) -> None:
    """A red track with converging lanes, a green field, a grandstand and the sky."""
    horizon = rng.uniform(52, 58)
    _band(sketch, 0, horizon, width, (120, 190, 240), (222, 240, 250))
    _clouds(sketch, rng, width, WHITE)
    stand = mix((98, 108, 132), (124, 128, 142), rng.random())
    sketch.rect(0, horizon - 15, width, 15, paint(stand))
    for row, seat in enumerate(((236, 170, 60), (70, 132, 206), (220, 84, 74))):
        sketch.rect(0, horizon - 12.5 + row * 4, width, 2.4, paint(seat))
    _band(sketch, horizon, 100, width, (110, 182, 84), (78, 150, 64))
    far = rng.uniform(0.3, 0.7) * width
    near = width / 2 + (far - width / 2) * 0.4
    top, bottom = max(width, 100) * 0.16, max(width, 100) * 0.62
    track = sketch.linear((0, horizon), (0, 100), ((0, (214, 110, 84), 1), (1, (186, 66, 48), 1)))
    sketch.polygon(((far - top, horizon), (far + top, horizon), (near + bottom, 100), (near - bottom, 100)), track)
    for lane in range(6):
        share = lane / 5 * 2 - 1
        sketch.polygon(
            (
                (far + share * top - 0.35, horizon),
                (far + share * top + 0.35, horizon),
                (near + share * bottom + 1.1, 100),
                (near + share * bottom - 1.1, 100),
            ),
            paint((250, 244, 238)),
        )


def _band(sketch: Sketch, top: float, bottom: float, width: float, above: RGB, below: RGB) -> None:
    fill = sketch.linear((0, top), (0, bottom), ((0, above, 1), (1, below, 1)))
    sketch.rect(0, top, width, bottom - top + 0.3, fill)


def _clouds(sketch: Sketch, rng: random.Random, width: float, colour: RGB) -> None:
    for _ in range(rng.choice((1, 2, 2, 3))):
        x, y, size = rng.uniform(0.05, 0.95) * width, rng.uniform(8, 26), rng.uniform(0.8, 1.3)
        for dx, dy, radius in ((-7, 0, 4), (0, -2, 6), (7, 0, 4.4)):
            sketch.ellipse(
                x + dx * size, y + dy * size, radius * size * 1.25, radius * size, paint(colour), 'fill-opacity="0.9"'
            )


def _spread(rng: random.Random, width: float, pitch: float) -> list[float]:
    """Places about `pitch` apart, never quite regular."""
    places = []
    x = rng.uniform(0, pitch * 0.8)
    while x < width:
        places.append(x)
        x += pitch * rng.uniform(0.8, 1.5)
    return places


DRAWERS: dict[str, Callable[[Sketch, random.Random, float], None]] = {
    "gym": gym,
    "park": park,
    "beach": beach,
    "night city": night_city,
    "brick wall": brick_wall,
    "snowy mountains": snowy_mountains,
    "running track": running_track,
}
