"""The contact sheet of the demo: one row per edit, as PNG and as an HTML file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

FONT = Path(__file__).with_name("fonts") / "NotoSansKR-subset.otf"
"""Latin letters and the Korean syllables of the demo's prompts."""

TILE = (208, 208)
RESULT = (312, 208)
GAP = 10
REFERENCE = (RESULT[0] - TILE[0] - GAP, TILE[1])
"""The free width beside a result that is as wide as its original."""
HEAD = 46
INK, FAINT, PAPER = (28, 30, 40), (106, 112, 128), (255, 255, 255)

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: #1c1e28 }}
section {{ margin: 2rem 0 }}
h2 {{ font-size: 1.1rem; margin: 0 }}
p {{ margin: 0 0 .5rem; color: #5f6577 }}
div {{ display: flex; gap: .7rem; flex-wrap: wrap }}
figure {{ margin: 0 }}
figcaption {{ font-size: .8rem; color: #5f6577 }}
img {{ height: 13rem; border-radius: .4rem; display: block }}
.cut-out {{ background: repeating-conic-gradient(#ddd 0 25%, #fff 0 50%) 0 0 / 1rem 1rem }}
.reference {{ height: 6.5rem }}
</style>
<h1>{title}</h1>
<p>{note}</p>
{rows}
</html>
"""


@dataclass(frozen=True)
class Entry:
    """One edit: request, the model's prompt, duration, and image files."""

    prompt: str
    seen: str
    feature: str
    profile: str
    seconds: float
    original: Path
    cutout: Path
    result: Path
    reference: Path | None = None

    @property
    def pictures(self) -> dict[str, Path]:
        """All of them by what they are, in the order of a row."""
        reference = {"reference": self.reference} if self.reference else {}
        return {"original": self.original, **reference, "cut-out": self.cutout, "result": self.result}

    @property
    def details(self) -> str:
        """The line below the prompt."""
        translated = f"the model saw: {self.seen} · " if self.seen != self.prompt else ""
        return f"{translated}{self.feature}, {self.profile} · {self.seconds:.1f} s"


def write_picture(path: Path, entries: Sequence[Entry], *, columns: int = 2) -> None:
    """Write the sheet as a PNG, the edits in `columns` columns."""
    cell = (2 * TILE[0] + RESULT[0] + 2 * GAP, HEAD + TILE[1])
    rows = -(-len(entries) // columns)
    size = (columns * cell[0] + (columns + 1) * 2 * GAP, rows * (cell[1] + 2 * GAP) + 2 * GAP)
    sheet = Image.new("RGB", size, PAPER)
    for number, entry in enumerate(entries):
        row, column = divmod(number, columns)
        corner = (2 * GAP + column * (cell[0] + 2 * GAP), 2 * GAP + row * (cell[1] + 2 * GAP))
        _draw(sheet, corner, entry, cell[0])
    sheet.save(path, optimize=True)


def write_page(path: Path, entries: Sequence[Entry], *, title: str, note: str) -> None:
    """Write the sheet as a page; the pictures are in it."""
    rows = "\n".join(_section(entry) for entry in entries)
    path.write_text(PAGE.format(title=html.escape(title), note=html.escape(note), rows=rows), encoding="utf-8")


def _draw(sheet: Image.Image, corner: tuple[int, int], entry: Entry, width: int) -> None:
    left, top = corner
    pen = ImageDraw.Draw(sheet)
    pen.text((left, top), entry.prompt, INK, _font(entry.prompt, 17, width))
    pen.text((left, top + 23), entry.details, FAINT, _font(entry.details, 13, width))
    boxes = (TILE, REFERENCE, TILE, TILE) if entry.reference else (TILE, TILE, RESULT)
    for file, box in zip(entry.pictures.values(), boxes, strict=True):
        shown = _shown(file, box)
        sheet.paste(shown, (left, top + HEAD))
        left += box[0] + GAP


def _font(text: str, size: int, width: int) -> ImageFont.FreeTypeFont:
    """The font at `size`, or smaller where the text would not fit."""
    while size > 8 and ImageFont.truetype(FONT, size).getlength(text) > width:
        size -= 1
    return ImageFont.truetype(FONT, size)


def _shown(file: Path, box: tuple[int, int]) -> Image.Image:
    """The picture within the box, what is transparent on a chequered ground."""
    with Image.open(file) as opened:
        picture = ImageOps.contain(ImageOps.exif_transpose(opened).convert("RGBA"), box)
    ground = Image.new("RGBA", picture.size, "white")
    pen = ImageDraw.Draw(ground)
    for x in range(0, picture.width, 8):
        for y in range(8 * (x // 8 % 2), picture.height, 16):
            pen.rectangle((x, y, x + 7, y + 7), (221, 221, 221, 255))
    ground.alpha_composite(picture)
    return ground.convert("RGB")


def _section(entry: Entry) -> str:
    figures = "".join(
        f'<figure><img class="{name}" src="{_embedded(file)}" alt="{name}"><figcaption>{name}</figcaption></figure>'
        for name, file in entry.pictures.items()
    )
    heading, details = html.escape(entry.prompt), html.escape(entry.details)
    return f"<section><h2>{heading}</h2><p>{details}</p><div>{figures}</div></section>"


def _embedded(file: Path) -> str:
    """The file as a data URL, upright."""
    with Image.open(file) as opened:
        picture = ImageOps.exif_transpose(opened)
        data = io.BytesIO()
        picture.save(data, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(data.getvalue()).decode()}"
