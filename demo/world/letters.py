"""The letters of shirts as strokes, so that no font is needed.

A letter fills a box 4 wide and 6 high, y downwards.
"""

from __future__ import annotations

from demo.world.svg import Point

Stroke = tuple[Point, ...]

LETTERS: dict[str, tuple[Stroke, ...]] = {
    "A": (((0, 6), (2, 0), (4, 6)), ((0.8, 4), (3.2, 4))),
    "E": (((4, 0), (0, 0), (0, 6), (4, 6)), ((0, 3), (3.2, 3))),
    "F": (((4, 0), (0, 0), (0, 6)), ((0, 3), (3.2, 3))),
    "G": (((3.9, 1.2), (3, 0), (1, 0), (0, 1.2), (0, 4.8), (1, 6), (3, 6), (4, 4.8), (4, 3.3), (2.4, 3.3)),),
    "I": (((2, 0), (2, 6)),),
    "M": (((0, 6), (0, 0), (2, 3.6), (4, 0), (4, 6)),),
    "N": (((0, 6), (0, 0), (4, 6), (4, 0)),),
    "O": (((1, 0), (3, 0), (4, 1.2), (4, 4.8), (3, 6), (1, 6), (0, 4.8), (0, 1.2), (1, 0)),),
    "P": (((0, 6), (0, 0), (3, 0), (4, 0.9), (4, 2.4), (3, 3.3), (0, 3.3)),),
    "R": (((0, 6), (0, 0), (3, 0), (4, 0.9), (4, 2.3), (3, 3.2), (0, 3.2)), ((2, 3.2), (4, 6))),
    "S": (
        (
            (3.9, 0.9),
            (3, 0),
            (1, 0),
            (0, 0.9),
            (0, 2.1),
            (1, 3),
            (3, 3),
            (4, 3.9),
            (4, 5.1),
            (3, 6),
            (1, 6),
            (0.1, 5.1),
        ),
    ),
    "T": (((0, 0), (4, 0)), ((2, 0), (2, 6))),
    "U": (((0, 0), (0, 4.8), (1, 6), (3, 6), (4, 4.8), (4, 0)),),
    "Y": (((0, 0), (2, 3), (4, 0)), ((2, 3), (2, 6))),
}


def strokes(word: str, *, centre: Point, width: float, height: float) -> list[Stroke]:
    """The word's strokes in a box about `centre`, at most `width` wide.

    Letters keep their shape down to a third.
    """
    advance = 5.6
    own_width = advance * len(word) - (advance - 4)
    unit_y = height / 6
    unit_x = min(width / own_width, unit_y * 1.15)
    left = centre[0] - own_width * unit_x / 2
    top = centre[1] - height / 2
    return [
        tuple((left + (index * advance + x) * unit_x, top + y * unit_y) for x, y in stroke)
        for index, letter in enumerate(word)
        for stroke in LETTERS[letter]
    ]
