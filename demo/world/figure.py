"""The person, drawn limb by limb in painting order.

About 100 units high, feet at (0, 0), y downwards. Each shape belongs to one part (`PARTS`). The same drawing serves for
the image and for the parts' masks, in which every shape has its part's flat colour.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass

from demo.world import letters
from demo.world.scene import COLOURS, HAIRS, SKINS, Person
from demo.world.svg import RGB, Point, Sketch, darker, lighter, mix, moved, paint

PARTS = ("shirt", "trousers", "skin", "hair", "glasses", "holding", "shoes")
FEET = 94.0
"""Where the feet stand, in hundredths of the picture's height from its top."""

OUTLINE = 0.75
TEXT_CENTRE: Point = (0.0, -58.0)
TEXT_SIZE = (22.5, 7.5)
HEAD: Point = (0.0, -84.5)
BOTTLE: RGB = (64, 176, 216)
WEIGHT: RGB = (86, 92, 110)
# Hair, about the middle of the head: its outline above the ears, then the fringe back to the start.
CAP = "M-11.2 0.5 C-13 -17 13 -17 11.2 0.5 "
SPIKES = "M-11.2 0.5 L-13 -8 L-9 -8.6 L-8 -15 L-3 -12.4 L1 -17 L4.4 -12.4 L9 -14.4 L9.4 -8.4 L13 -7 L11.2 0.5 "
FRINGES = {
    "short": "Q9.5 -5 6 -6.4 Q-1 -5 -6 -7.4 Q-9.8 -5 -11.2 0.5 Z",
    "long": "Q9 -5 1 -9.5 Q-9 -6 -11.2 0.5 Z",
    "bun": "Q8.6 -6 0 -7.4 Q-8.6 -6 -11.2 0.5 Z",
    "ponytail": "Q9.4 -6 4 -7 Q-5 -8.4 -11.2 0.5 Z",
    "curly": "Q8.6 -4 5 -6.4 Q2.5 -3.8 0 -6.4 Q-2.5 -3.8 -5 -6.4 Q-8.6 -4 -11.2 0.5 Z",
    "spiky": "L7 -6.4 L3.6 -3.8 L0.6 -7 L-2.6 -4 L-6 -7 Z",
}


Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""

Arm = tuple[Point, Point, Point]
"""Shoulder, elbow, hand."""


@dataclass(frozen=True)
class Stance:
    """Angles in degrees from straight down, outwards positive.

    (upper, lower) of each arm and leg.
    """

    left_arm: tuple[float, float]
    right_arm: tuple[float, float]
    left_leg: tuple[float, float] = (4, 2)
    right_leg: tuple[float, float] = (4, 2)


STANCES = {
    "standing": Stance((17, 9), (17, 9)),
    "hands on hips": Stance((50, -42), (50, -42), (9, 6), (9, 6)),
    "waving": Stance((18, 8), (128, 166)),
    "flexing": Stance((88, 176), (88, 176), (10, 7), (10, 7)),
    "arms out": Stance((74, 80), (74, 80), (8, 5), (8, 5)),
    "cheering": Stance((138, 158), (138, 158), (9, 6), (9, 6)),
    "stepping": Stance((34, -14), (30, 62), (16, 3), (3, 10)),
    "presenting": Stance((50, -42), (42, 108), (6, 4), (6, 4)),
}


class Figure:
    """Draws one person.

    masks: the flat colour of each part, instead of the person's colours.
    """

    def __init__(self, sketch: Sketch, person: Person, masks: Mapping[str, RGB] | None = None) -> None:
        self.sketch = sketch
        self.person = person
        self.masks = masks
        rng = random.Random(f"person:{person.seed}")
        self.girth = rng.uniform(0.93, 1.08)
        self.shorts = rng.random() < 0.45
        self.sleeves = rng.choice((0.6, 0.85, 0.85, 1.9))
        self.shoe = rng.choice(((236, 236, 238), (60, 62, 72), (226, 80, 64), (60, 140, 210)))
        self.smile = rng.uniform(0.8, 2.4)
        self.brow = rng.uniform(-0.5, 0.5)
        self.band = rng.random() < 0.25
        self.stripe = rng.random() < 0.5
        self.bend = rng.uniform(-6, 6)
        self.mirrored = rng.random() < 0.5
        self.skin, self.hair = SKINS[person.skin], HAIRS[person.hair]
        self.shirt, self.trousers = COLOURS[person.shirt], COLOURS[person.trousers]

    def draw(self, width: float) -> None:
        """Draw into a drawing `width` units wide and 100 high."""
        x, size = self.person.position * width, self.person.scale
        self.sketch.open(f'transform="translate({x:.3f} {FEET}) scale({size:.4f})"')
        stance = STANCES[self.person.pose]
        self._hair_behind()
        self._leg(-1, stance.right_leg if self.mirrored else stance.left_leg)
        self._leg(1, stance.left_leg if self.mirrored else stance.right_leg)
        self._torso()
        self._head()
        busy, idle = self.arms()
        self._paint_arm(idle)
        self._paint_arm(busy)
        self._held(busy[2])
        self.sketch.close()

    def arms(self) -> tuple[Arm, Arm]:
        """The arm with the held object, drawn in front, and the other one."""
        stance = STANCES[self.person.pose]
        side = -1 if self.mirrored else 1
        return self._arm(side, stance.right_arm), self._arm(-side, stance.left_arm)

    # How a shape of a part is painted

    def _flat(self, part: str, colour: RGB) -> str:
        return paint(self.masks[part] if self.masks else colour)

    def _shaded(self, part: str, colour: RGB) -> str:
        """Lit from the upper left."""
        if self.masks:
            return paint(self.masks[part])
        stops = ((0, lighter(colour, 0.2), 1), (0.45, colour, 1), (1, darker(colour, 0.28), 1))
        return self.sketch.linear((-22, -76), (26, -30), stops)

    def _edge(self, part: str, colour: RGB) -> str:
        return f'stroke="{self._flat(part, darker(colour, 0.52))}" stroke-width="{OUTLINE}" stroke-linejoin="round"'

    def _limb(self, part: str, corners: tuple[Point, ...], colour: RGB, width: float) -> None:
        self.sketch.line(corners, self._flat(part, darker(colour, 0.52)), width + 2 * OUTLINE * 0.7)
        self.sketch.line(corners, self._shaded(part, colour), width)

    # Limbs

    def _arm(self, side: int, angles: tuple[float, float]) -> Arm:
        shoulder = (side * 12.6 * self.girth, -67.5)
        elbow = _along(shoulder, side, angles[0] + self.bend * 0.5, 14.5)
        return shoulder, elbow, _along(elbow, side, angles[1] + self.bend, 13)

    def _paint_arm(self, arm: Arm) -> None:
        shoulder, elbow, hand = arm
        self._limb("skin", (shoulder, elbow, hand), self.skin, 5.6)
        self.sketch.ellipse(*hand, 3.9, 3.9, self._shaded("skin", self.skin), self._edge("skin", self.skin))
        if self.sleeves > 1:
            sleeve: tuple[Point, ...] = (shoulder, elbow, _between(elbow, hand, 0.62))
        else:
            sleeve = (shoulder, _between(shoulder, elbow, self.sleeves))
        self._limb("shirt", sleeve, self.shirt, 7.2)

    def _leg(self, side: int, angles: tuple[float, float]) -> None:
        hip = (side * 5.4 * self.girth, -39.0)
        knee = _along(hip, side, angles[0], 18)
        ankle = _along(knee, side, angles[1], 17)
        self._limb("skin", (hip, knee, ankle), self.skin, 6.2)
        self._shoe(ankle, side)
        end = _between(knee, ankle, 0.12) if self.shorts else _between(knee, ankle, 0.86)
        self._limb("trousers", (hip, knee, end), self.trousers, 9.4 if self.shorts else 8.6)

    def _shoe(self, ankle: Point, side: int) -> None:
        x, y = ankle
        toe = x + side * 6.4
        self.sketch.path(
            f"M{x - side * 3.8:.2f} {y - 2:.2f} Q{x:.2f} {y - 4:.2f} {x + side * 3:.2f} {y - 1:.2f} "
            f"Q{toe:.2f} {y:.2f} {toe:.2f} {y + 3.6:.2f} L{x - side * 4:.2f} {y + 3.6:.2f} Z",
            self._flat("shoes", self.shoe),
            self._edge("shoes", self.shoe),
        )

    # Body

    def _torso(self) -> None:
        shoulder, waist = 15.6 * self.girth, 11.6 * self.girth
        hips = 11.2 * self.girth
        self.sketch.path(
            f"M{-waist:.2f} -43 L{waist:.2f} -43 L{hips:.2f} -33 Q0 -29 {-hips:.2f} -33 Z",
            self._shaded("trousers", self.trousers),
            self._edge("trousers", self.trousers),
        )
        self.sketch.rect(-3.8, -77, 7.6, 10, self._flat("skin", darker(self.skin, 0.14)))
        self.sketch.path(
            f"M-5.5 -72.6 Q0 -67 5.5 -72.6 Q{shoulder - 3:.2f} -72 {shoulder:.2f} -66.5 "
            f"L{waist + 0.8:.2f} -52 L{waist + 0.3:.2f} -39.5 Q0 -37.6 {-waist - 0.3:.2f} -39.5 "
            f"L{-waist - 0.8:.2f} -52 L{-shoulder:.2f} -66.5 Q{-shoulder + 3:.2f} -72 -5.5 -72.6 Z",
            self._shaded("shirt", self.shirt),
            self._edge("shirt", self.shirt),
        )
        trim = text_colour(self.shirt)
        if self.stripe and not self.masks:
            stripe = paint(mix(self.shirt, trim, 0.6))
            ends = ((-waist + 0.4, -43.5), (waist - 0.4, -43.5))
            self.sketch.line(ends, stripe, 1.8, 'stroke-opacity="0.85"')
        self._text(trim)

    def _text(self, colour: RGB) -> None:
        if not self.person.shirt_text:
            return
        width = TEXT_SIZE[0] * self.girth
        for stroke in letters.strokes(self.person.shirt_text, centre=TEXT_CENTRE, width=width, height=TEXT_SIZE[1]):
            weight = 1.5 if len(self.person.shirt_text) < 6 else 1.15
            self.sketch.line(stroke, self._flat("shirt", colour), weight)

    # Head

    def _head(self) -> None:
        x, y = HEAD
        edge = self._edge("skin", self.skin)
        for side in (-1, 1):
            self.sketch.ellipse(x + side * 10.6, y + 1, 2.2, 3, self._shaded("skin", self.skin), edge)
        self.sketch.ellipse(x, y, 10.8, 12, self._shaded("skin", self.skin), edge)
        self._face()
        self._hair_before()
        if self.person.glasses:
            self._glasses()

    def _face(self) -> None:
        x, y = HEAD
        ink = darker(self.skin, 0.78)
        if not self.masks:
            blush = mix(self.skin, (232, 84, 84), 0.4)
            for side in (-1, 1):
                self.sketch.ellipse(x + side * 6.2, y + 4.6, 2.3, 1.6, paint(blush), 'fill-opacity="0.55"')
        for side in (-1, 1):
            self.sketch.ellipse(x + side * 4.3, y + 0.6, 1.2, 1.6, self._flat("skin", ink))
            brow = ((x + side * 2.7, y - 3.3 + self.brow), (x + side * 6, y - 3.5 - self.brow))
            self.sketch.line(brow, self._flat("skin", darker(self.hair, 0.3)), 1)
        self.sketch.line(
            ((x, y + 1.6), (x + 0.9, y + 3.6), (x - 0.4, y + 3.8)), self._flat("skin", darker(self.skin, 0.4)), 0.6
        )
        mouth = self._flat("skin", mix(darker(self.skin, 0.55), (170, 40, 40), 0.45))
        self.sketch.path(
            moved(f"M-3.6 6.2 Q0 {6.4 + self.smile * 1.7:.2f} 3.6 6.2 Q0 6.4 -3.6 6.2 Z", HEAD),
            mouth,
            f'stroke="{mouth}" stroke-width="0.7" stroke-linejoin="round"',
        )

    def _hair_behind(self) -> None:
        x, y = HEAD
        style = self.person.hair_style
        fill, edge = self._flat("hair", darker(self.hair, 0.22)), self._edge("hair", self.hair)
        if style == "long":
            self.sketch.path(moved("M-11 -4 C-14 6 -14 14 -12 19 L12 19 C14 14 14 6 11 -4 Z", HEAD), fill, edge)
        elif style == "ponytail":
            tail = "M-6 -10 C-18 -12 -19 4 -14 12 C-13 2 -11 -2 -6 -4 Z"
            if not self.mirrored:
                tail = "M6 -10 C18 -12 19 4 14 12 C13 2 11 -2 6 -4 Z"
            self.sketch.path(moved(tail, HEAD), fill, edge)
        elif style == "bun":
            self.sketch.ellipse(x, y - 14, 5, 4.6, self._shaded("hair", self.hair), edge)
        elif style == "curly":
            for angle in range(150, 391, 30):
                turn = math.radians(angle)
                self.sketch.ellipse(x + 10.2 * math.cos(turn), y - 1.5 + 10.6 * math.sin(turn), 4.4, 4.4, fill, edge)

    def _hair_before(self) -> None:
        style = self.person.hair_style
        cap = SPIKES if style == "spiky" else CAP
        self.sketch.path(
            moved(cap + FRINGES[style], HEAD), self._shaded("hair", self.hair), self._edge("hair", self.hair)
        )
        if self.band:
            colour = self._flat("hair", mix(self.shoe, (226, 80, 64), 0.4))
            curve = moved("M-11.4 -5.6 Q0 -9.8 11.4 -5.6", HEAD)
            self.sketch.path(curve, "none", f'stroke="{colour}" stroke-width="2.6"')

    def _glasses(self) -> None:
        x, y = HEAD
        frame = self._flat("glasses", (28, 28, 36))
        edge = f'stroke="{frame}" stroke-width="1.35"'
        lens = self._flat("glasses", (206, 230, 244)) if self.masks else self.sketch.linear(
            (x, y - 3), (x, y + 5), ((0, (240, 250, 255), 0.75), (1, (150, 196, 226), 0.55))
        )  # fmt: skip
        for side in (-1, 1):
            self.sketch.rect(x + side * 5 - 3.9, y - 2.7, 7.8, 6.8, lens, 2.6, edge)
            self.sketch.line(((x + side * 8.9, y - 0.6), (x + side * 11, y - 1)), frame, 1.2)
        self.sketch.line(((x - 1.2, y - 0.2), (x + 1.2, y - 0.2)), frame, 1.2)

    # Held objects

    def _held(self, hand: Point) -> None:
        if self.person.holding == "dumbbell":
            self._dumbbell(hand)
        elif self.person.holding == "water bottle":
            self._bottle(hand)
        else:
            return
        x, y = hand
        for dy in (-1.9, 0.3, 2.4):
            self.sketch.rect(
                x - 2.7, y + dy - 0.9, 5.4, 2, self._shaded("skin", self.skin), 1, self._edge("skin", self.skin)
            )

    def _dumbbell(self, hand: Point) -> None:
        x, y = hand
        self.sketch.rect(
            x - 8, y - 1.2, 16, 2.4, self._flat("holding", (196, 200, 208)), 0.6, self._edge("holding", WEIGHT)
        )
        for side in (-1, 1):
            for offset, half in ((6.2, 5.4), (9.4, 4)):
                fill = self._flat("holding", lighter(WEIGHT, 0.16) if side < 0 else WEIGHT)
                self.sketch.rect(
                    x + side * offset - 1.6, y - half, 3.2, 2 * half, fill, 1.1, self._edge("holding", WEIGHT)
                )

    def _bottle(self, hand: Point) -> None:
        x, y = hand
        fill = self._flat("holding", BOTTLE) if self.masks else self.sketch.linear(
            (x - 3.6, y), (x + 3.6, y), ((0, lighter(BOTTLE, 0.5), 1), (0.5, BOTTLE, 1), (1, darker(BOTTLE, 0.25), 1))
        )  # fmt: skip
        edge = self._edge("holding", BOTTLE)
        self.sketch.rect(x - 3.7, y - 8.5, 7.4, 15.5, fill, 2, edge)
        self.sketch.rect(x - 2.2, y - 12.2, 4.4, 4, self._flat("holding", (240, 246, 250)), 1, edge)


def text_colour(shirt: RGB) -> RGB:
    """A readable text colour on a shirt of that colour."""
    brightness = 0.3 * shirt[0] + 0.59 * shirt[1] + 0.11 * shirt[2]
    return (32, 32, 42) if brightness > 150 else (248, 248, 246)


def text_box(person: Person, width: int, height: int) -> Box:
    """The pixel box of the shirt's text, with a small margin."""
    half = TEXT_SIZE[0] / 2 * 1.08 + 1.5, TEXT_SIZE[1] / 2 + 1.5
    return _box(person, width, height, TEXT_CENTRE, half)


def hand_box(person: Person, width: int, height: int) -> Box:
    """The square box in pixels around the hand that holds something, or would.

    It may reach over the picture's edge.
    """
    return hand_boxes(person, width, height)[0]


def hand_boxes(person: Person, width: int, height: int) -> tuple[Box, Box]:
    """The same, and the box around the other hand."""
    busy, idle = Figure(Sketch(), person).arms()
    return _box(person, width, height, busy[2], (15, 15)), _box(person, width, height, idle[2], (15, 15))


def holds_at_the_left(person: Person) -> bool:
    """Whether both arms have the same pose, so that left and right look alike."""
    return is_symmetric(person) and Figure(Sketch(), person).mirrored


def is_symmetric(person: Person) -> bool:
    """Whether both arms do the same."""
    stance = STANCES[person.pose]
    return stance.left_arm == stance.right_arm


def face_box(person: Person, width: int, height: int) -> Box:
    """The square box in pixels around the face; it may reach over the picture's edge."""
    return _box(person, width, height, HEAD, (15, 15))


def _box(person: Person, width: int, height: int, centre: Point, half: tuple[float, float]) -> Box:
    unit = height / 100
    left, top = (centre[0] - half[0]) * person.scale, (centre[1] - half[1]) * person.scale
    right, bottom = (centre[0] + half[0]) * person.scale, (centre[1] + half[1]) * person.scale
    middle = person.position * width
    return (
        round(middle + left * unit),
        round((FEET + top) * unit),
        round(middle + right * unit),
        round((FEET + bottom) * unit),
    )


def _along(start: Point, side: int, angle: float, length: float) -> Point:
    turn = math.radians(angle)
    return start[0] + side * math.sin(turn) * length, start[1] + math.cos(turn) * length


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share
