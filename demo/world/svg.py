"""A small SVG writer: shapes, gradients and colours, in painting order."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import resvg_py
from PIL import Image

RGB = tuple[int, int, int]
Point = tuple[float, float]
Stop = tuple[float, RGB, float]  # place along the gradient in [0, 1], colour, opacity


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`a` with `share` of `b` in it."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def lighter(colour: RGB, share: float) -> RGB:
    """Towards white."""
    return mix(colour, (255, 255, 255), share)


def darker(colour: RGB, share: float) -> RGB:
    """Towards a deep blue-black, which looks more like shade than black does."""
    return mix(colour, (16, 14, 34), share)


def paint(colour: RGB) -> str:
    """The colour as SVG writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def points(corners: Sequence[Point]) -> str:
    """The corners as the attribute `points` and as path data want them."""
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def moved(data: str, by: Point) -> str:
    """Path data of absolute points "x y", moved."""
    return re.sub(
        r"(-?[\d.]+) (-?[\d.]+)",
        lambda pair: f"{float(pair[1]) + by[0]:.2f} {float(pair[2]) + by[1]:.2f}",
        data,
    )


class Sketch:
    """SVG elements in painting order, with the gradients they use."""

    def __init__(self) -> None:
        self._elements: list[str] = []
        self._definitions: list[str] = []

    def add(self, element: str) -> None:
        """Paint an element as it is written."""
        self._elements.append(element)

    def open(self, attributes: str) -> None:
        """Begin a group; everything up to `close` is in it."""
        self._elements.append(f"<g {attributes}>")

    def close(self) -> None:
        """End the group begun last."""
        self._elements.append("</g>")

    def rect(
        self, x: float, y: float, width: float, height: float, fill: str, radius: float = 0, more: str = ""
    ) -> None:
        """A rectangle with round corners."""
        self.add(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}" rx="{radius:.2f}" '
            f'fill="{fill}" {more}/>'
        )

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: str, more: str = "") -> None:
        """An ellipse about its centre."""
        self.add(f'<ellipse cx="{x:.2f}" cy="{y:.2f}" rx="{rx:.2f}" ry="{ry:.2f}" fill="{fill}" {more}/>')

    def polygon(self, corners: Sequence[Point], fill: str, more: str = "") -> None:
        """A closed shape with straight sides."""
        self.add(f'<polygon points="{points(corners)}" fill="{fill}" {more}/>')

    def path(self, data: str, fill: str, more: str = "") -> None:
        """A shape of curves."""
        self.add(f'<path d="{data}" fill="{fill}" {more}/>')

    def line(self, corners: Sequence[Point], colour: str, width: float, more: str = "") -> None:
        """A stroke with round ends and joints."""
        self.add(
            f'<polyline points="{points(corners)}" fill="none" stroke="{colour}" stroke-width="{width:.2f}" '
            f'stroke-linecap="round" stroke-linejoin="round" {more}/>'
        )

    def linear(self, start: Point, end: Point, stops: Sequence[Stop]) -> str:
        """A gradient between two points of the drawing.

        Returns the paint that refers to it.
        """
        name = f"g{len(self._definitions)}"
        self._definitions.append(
            f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="{start[0]:.2f}" y1="{start[1]:.2f}" '
            f'x2="{end[0]:.2f}" y2="{end[1]:.2f}">{_stops(stops)}</linearGradient>'
        )
        return f"url(#{name})"

    def radial(self, centre: Point, radius: float, stops: Sequence[Stop], *, of_shape: bool = False) -> str:
        """A radial gradient; with `of_shape` relative to the filled shape's box.

        Centre and radius in [0, 1].
        """
        name = f"g{len(self._definitions)}"
        units = "objectBoundingBox" if of_shape else "userSpaceOnUse"
        self._definitions.append(
            f'<radialGradient id="{name}" gradientUnits="{units}" cx="{centre[0]:.2f}" cy="{centre[1]:.2f}" '
            f'r="{radius:.2f}">{_stops(stops)}</radialGradient>'
        )
        return f"url(#{name})"

    def shadow(self, x: float, y: float, rx: float, ry: float, strength: float = 0.38) -> None:
        """The soft shadow of an object on the floor."""
        dark = (12, 12, 30)
        fill = self.radial(
            (0.5, 0.5), 0.5, ((0, dark, strength), (0.55, dark, strength * 0.6), (1, dark, 0)), of_shape=True
        )
        self.ellipse(x, y, rx, ry, fill)

    def pixels(self, width: int, height: int) -> np.ndarray:
        """The drawing as (height, width, 4) uint8 with straight alpha.

        Its height is 100 units.
        """
        units = 100 * width / height
        text = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {units:.4f} 100" preserveAspectRatio="none"><defs>{"".join(self._definitions)}</defs>'
            f"{''.join(self._elements)}</svg>"
        )
        return _rasterised(text)


@lru_cache(maxsize=16)
def _rasterised(svg: str) -> np.ndarray:
    """(height, width, 4) uint8, read-only.

    Scenes that differ in the person alone share their ground.
    """
    png = resvg_py.svg_to_bytes(svg_string=svg, skip_system_fonts=True)
    with Image.open(io.BytesIO(png)) as picture:
        pixels = np.asarray(picture.convert("RGBA"))
    pixels.setflags(write=False)
    return pixels


def _stops(stops: Sequence[Stop]) -> str:
    return "".join(
        f'<stop offset="{place:.3f}" stop-color="{paint(colour)}" stop-opacity="{opacity:.3f}"/>'
        for place, colour, opacity in stops
    )
