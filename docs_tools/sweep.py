"""The images of docs/parameters.md.

One parameter changes from cell to cell; everything else stays the same.

    python -m docs_tools.sweep [--models demo/models] [--only strength …] [--out docs/images/parameters]

Starts the services on free ports and edits a demo sample through the public API.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console

from imgedit import Mask, Outpaint, SyncEditClient
from imgedit.local.ports import Ports
from imgedit.local.supervisor import DEMO_MODELS, Stack, demo_environment_of

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "demo" / "samples"
OUT = ROOT / "docs" / "images" / "parameters"

CELL, GAP, CAPTION = 192, 8, 40
INK, FRAME, PAPER = (28, 30, 40), (200, 204, 212), (255, 255, 255)
GYM = "Change the background to a modern gym"
SEED = 7

console = Console()


@dataclass(frozen=True)
class Strip:
    """One row of cells.

    values: of `parameter`, by caption. show: the response's image to show.
    """

    name: str
    sample: str
    parameter: str
    values: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    show: str = "output_image"


def _numbers(*values: float) -> dict[str, float]:
    return {f"{value:g}": value for value in values}


def _masks(**options: Sequence[Any]) -> dict[str, Mask]:
    [(name, values)] = options.items()
    return {f"{name} {value}": Mask(**{name: value}) for value in values}


INPAINTING = {"experiment": "ben2_flux_fill", "feature": "inpainting", "prompt": GYM}
ONE_STEP = {"steps": 10, "strength": 0.1}
"""For strips of the mask: at strength 0 nothing is painted, and the weight is 0 everywhere."""

OUTPAINTING = {"experiment": "ben2_flux_fill", "feature": "outpainting"}

STRIPS = (
    Strip("steps", "blue-in-the-park.png", "steps", _numbers(10, 15, 20, 28, 50), INPAINTING),
    Strip("guidance-scale", "blue-in-the-park.png", "guidance_scale", _numbers(1, 2, 3.5, 7, 15), INPAINTING),
    Strip("strength", "blue-in-the-park.png", "strength", _numbers(0, 0.3, 0.5, 0.8, 1), INPAINTING),
    Strip("seed", "blue-in-the-park.png", "seed", _numbers(1, 2, 3, 4, 5), INPAINTING),
    Strip(
        "profile", "blue-in-the-park.png", "profile", {name: name for name in ("fast", "balanced", "high")}, INPAINTING
    ),
    Strip(
        "negative-scale",
        "blue-in-the-park.png",
        "negative_scale",
        _numbers(1, 3, 6, 10),
        {**INPAINTING, "negative_prompt": "windows"},
    ),
    Strip(
        "mask-threshold",
        "glasses-at-the-beach.png",
        "mask_options",
        _masks(threshold=(0.02, 0.2, 0.5, 0.8, 0.98)),
        {**INPAINTING, **ONE_STEP},
        "mask_image",
    ),
    Strip(
        "mask-grow",
        "glasses-at-the-beach.png",
        "mask_options",
        _masks(grow_px=(0, 2, 4, 8, 16)),
        {**INPAINTING, **ONE_STEP},
        "mask_image",
    ),
    Strip(
        "mask-feather",
        "glasses-at-the-beach.png",
        "mask_options",
        _masks(feather_px=(0, 4, 8, 16, 32)),
        {**INPAINTING, **ONE_STEP},
        "mask_image",
    ),
    Strip(
        "outpaint",
        "blue-in-the-park.png",
        "outpaint",
        {
            "left 64": Outpaint(left=64),
            "left 128": Outpaint(left=128),
            "left 64, right 64": Outpaint(left=64, right=64),
        },
        {**OUTPAINTING, "prompt": "Add exercise equipment on the left"},
    ),
)


def main() -> None:
    """Make the strips."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", type=Path, default=DEMO_MODELS, help="folder of the checkpoints")
    parser.add_argument("--only", nargs="+", choices=[strip.name for strip in STRIPS], help="these strips alone")
    parser.add_argument("--out", type=Path, default=OUT, help="where the pictures go (%(default)s)")
    options = parser.parse_args()
    wanted = [strip for strip in STRIPS if not options.only or strip.name in options.only]
    ports = Ports.free()
    with tempfile.TemporaryDirectory() as logs:
        stack = Stack(ports, Path(logs), demo_environment_of(ports, options.models))
        try:
            stack.start()
            list(stack.wait_until_serving(timeout=300))
            with SyncEditClient(ports.address("orchestrator")) as client:
                write(client, wanted, options.out)
        finally:
            stack.stop()


def write(client: SyncEditClient, strips: Sequence[Strip], folder: Path) -> None:
    """Create these strips and save each as a WebP file."""
    folder.mkdir(parents=True, exist_ok=True)
    for strip in strips:
        path = folder / f"{strip.name}.webp"
        drawn(client, strip).save(path, quality=88, method=6)
        console.print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def drawn(client: SyncEditClient, strip: Strip) -> Image.Image:
    """The sample, then a cell per value."""
    sample = ImageOps.exif_transpose(Image.open(SAMPLES / strip.sample)).convert("RGB")
    cells = [_cell(sample, "the picture", "")]
    for caption, value in strip.values.items():
        answer = client.edit(SAMPLES / strip.sample, **{"seed": SEED, **strip.options, strip.parameter: value})
        with Image.open(io.BytesIO(getattr(answer, strip.show))) as shown:
            note = (
                "" if strip.show == "mask_image" else f"{answer.effective.steps_run} steps, {answer.elapsed_time:.1f} s"
            )
            label = caption if caption.startswith(tuple(_NAMED)) else f"{strip.parameter} {caption}"
            cells.append(_cell(shown.convert("RGB"), label, note))
    row = Image.new("RGB", (sum(cell.width + GAP for cell in cells) - GAP, CELL + CAPTION), PAPER)
    left = 0
    for cell in cells:
        row.paste(cell, (left, 0))
        left += cell.width + GAP
    return row


_NAMED = ("threshold", "grow_px", "feather_px", "left", "aspect")
"""Captions that name their parameter themselves."""


def _cell(picture: Image.Image, label: str, note: str) -> Image.Image:
    scaled = picture.resize((round(picture.width * CELL / picture.height), CELL), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (scaled.width, CELL + CAPTION), PAPER)
    cell.paste(scaled)
    draw = ImageDraw.Draw(cell)
    draw.rectangle((0, 0, scaled.width - 1, CELL - 1), outline=FRAME)
    for line, text in enumerate((label, note)):
        draw.text((2, CELL + 2 + 18 * line), text, INK, ImageFont.load_default(14))
    return cell


if __name__ == "__main__":
    main()
