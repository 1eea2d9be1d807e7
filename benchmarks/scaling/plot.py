"""A log-log plot as SVG: points, and the line of the fitted exponent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from benchmarks.estimates import Exponent

WIDTH, HEIGHT, MARGIN = 480, 320, 56
TICKS = 5


def draw(title: str, x_name: str, y_name: str, points: Sequence[tuple[float, float]], fit: Exponent) -> str:
    """The document. points: (x, y) above 0."""
    xs, ys = ([math.log10(point[axis]) for point in points] for axis in (0, 1))
    left, right = min(xs), max(xs)
    low, high = _padded(min(ys), max(ys))

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - left) / ((right - left) or 1)
        up = (math.log10(y) - low) / (high - low)
        return MARGIN + across * (WIDTH - 2 * MARGIN), HEIGHT - MARGIN - up * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(WIDTH / 2, 20, title, "middle", size=13),
        _text(WIDTH / 2, 36, _caption(fit), "middle"),
        _text(WIDTH / 2, HEIGHT - 12, x_name, "middle"),
        _text(8, MARGIN - 6, y_name, "start"),
        f'<path d="M{MARGIN} {MARGIN}V{HEIGHT - MARGIN}H{WIDTH - MARGIN}" fill="none" stroke="#555"/>',
    ]
    parts += [
        _text(place(x, points[0][1])[0], HEIGHT - MARGIN + 16, f"{x:g}", "middle")
        for x in sorted({point[0] for point in points})
    ]
    ticks = [10 ** (low + (high - low) * number / (TICKS - 1)) for number in range(TICKS)]
    parts += [_text(MARGIN - 6, place(points[0][0], y)[1] + 4, f"{y:.3g}", "end") for y in ticks]
    ends = [place(x, fit.factor * x**fit.exponent) for x in (10**left, 10**right)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in ends)
    parts.append(f'<polyline points="{line}" fill="none" stroke="#c60" stroke-width="1.5"/>')
    for x, y in (place(*point) for point in points):
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="#06c" fill-opacity="0.7"/>')
    return "\n".join([*parts, "</svg>\n"])


def _caption(fit: Exponent) -> str:
    if fit.low is None or fit.high is None:
        return f"exponent {fit.exponent:.2f}"
    return f"exponent {fit.exponent:.2f}, 95% interval {fit.low:.2f} to {fit.high:.2f}"


def _padded(low: float, high: float) -> tuple[float, float]:
    """A little room at both ends, and some for a single value."""
    room = max(0.05, 0.08 * (high - low))
    return low - room, high + room


def _text(x: float, y: float, text: str, anchor: str, *, size: int = 11) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(text)}</text>'
