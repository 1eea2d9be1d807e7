"""Draw the figure of region steps in docs/models.md.

It shows the tokens that each step of a job with region steps computes.

    python -m docs_tools.region_steps [--out docs/images/region-steps.svg]

Drawn from the shipped schedules and the code that chooses a mask's tokens, so it shows what the services do.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "region-steps.svg"

SIDE = 12
"""Tokens along a side of the picture that is drawn; a real one of 1024 px has 64."""

STEPS, SHIFT = 28, 0.69
CELL, GAP, LEFT, TOP, LINE = 3, 6, 92, 30, 52
COMPUTED, KEPT, INK = "#4f46e5", "#d5d8e2", "#1c1e28"
PER_ROW = 14


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(prog="python -m docs_tools.region_steps", description="Draw the figure.")
    parser.add_argument("--out", type=Path, default=OUT, help="the file to write (%(default)s)")
    parser.parse_args().out.write_text(figure(), encoding="utf-8")


def figure() -> str:
    """The SVG file."""
    from services.diffusion.networks.token_region import TOKEN_PX, tokens_of
    from services.qwen_edit.model import REGION_SCHEDULE  # late: with it comes torch

    full = REGION_SCHEDULE.full_steps(_levels())
    region = np.zeros(SIDE * SIDE, bool)
    region[tokens_of(_mask(TOKEN_PX), REGION_SCHEDULE.rim)] = True
    width = LEFT + PER_ROW * (SIDE * CELL + GAP) + GAP
    height = TOP + 2 * (2 * LINE + 24) + 28
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
            f'font-size="11" fill="{INK}">'
        ),
        (
            f"<title>Tokens computed at each of {STEPS} steps: {sum(full)} full steps, {STEPS - sum(full)} region steps"
            "</title>"
        ),
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for start in range(0, STEPS, PER_ROW):
        top = TOP + start // PER_ROW * (2 * LINE + 24)
        parts += [_text(8, top + 22, "answer"), _text(8, top + LINE + 22, "input picture"), _text(8, top - 8, "step")]
        for step in range(start, min(start + PER_ROW, STEPS)):
            left = LEFT + (step - start) * (SIDE * CELL + GAP)
            parts.append(_text(left + SIDE * CELL // 2, top - 8, str(step + 1), middle=True))
            parts += _grid(left, top, region | full[step])
            parts += _grid(left, top + LINE - 6, np.full(SIDE * SIDE, full[step]))
    parts += _legend(height - 18)
    return "\n".join([*parts, "</svg>", ""])


def _levels() -> list[float]:
    """Qwen-Image-Edit's noise levels for a picture of 1024 x 1024 px."""
    stretch = math.exp(SHIFT)
    return [*(stretch / (stretch + 1 / (1 - step / STEPS) - 1) for step in range(STEPS)), 0.0]


def _mask(token_px: int) -> np.ndarray:
    """A disc, right of the middle."""
    rows, columns = np.mgrid[: SIDE * token_px, : SIDE * token_px] / token_px
    disc: np.ndarray = (rows - 6.5) ** 2 + (columns - 7) ** 2 < 2.6**2
    return disc.astype(np.uint8)


def _grid(left: int, top: int, computed: np.ndarray) -> Iterator[str]:
    """The kept tokens as one square, and a path over the computed ones."""
    side = SIDE * CELL
    yield f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="{KEPT}"/>'
    if computed.all():
        yield f'<rect x="{left}" y="{top}" width="{side}" height="{side}" fill="{COMPUTED}"/>'
    elif computed.any():
        squares = (divmod(int(token), SIDE) for token in np.flatnonzero(computed))
        path = "".join(f"M{left + column * CELL} {top + row * CELL}h{CELL}v{CELL}h-{CELL}z" for row, column in squares)
        yield f'<path d="{path}" fill="{COMPUTED}"/>'


def _legend(top: int) -> Iterator[str]:
    for left, colour, text in (
        (8, COMPUTED, "computed"),
        (90, KEPT, "takes part by its keys and values, kept from the last full step"),
    ):
        yield f'<rect x="{left}" y="{top}" width="10" height="10" fill="{colour}"/>'
        yield _text(left + 15, top + 9, text)


def _text(left: int, top: int, text: str, *, middle: bool = False) -> str:
    anchor = ' text-anchor="middle"' if middle else ""
    return f'<text x="{left}" y="{top}"{anchor}>{text}</text>'


if __name__ == "__main__":
    main()
