"""The strips of the parameters guide are made from edits through the public API."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from docs_tools import sweep
from imgedit import SyncEditClient


def test_a_strip_holds_the_picture_and_a_cell_per_value(client: SyncEditClient, tmp_path: Path) -> None:
    strip = sweep.Strip(
        "strength", "blue-in-the-park.png", "strength", {"0": 0.0, "0.2": 0.2}, {**sweep.INPAINTING, "steps": 10}
    )
    sweep.write(client, [strip], tmp_path)
    with Image.open(tmp_path / "strength.webp") as made:
        assert made.size == (3 * sweep.CELL + 2 * sweep.GAP, sweep.CELL + sweep.CAPTION)
        cells = [np.asarray(made.convert("RGB"))[: sweep.CELL, x : x + sweep.CELL].astype(int) for x in (0, 200, 400)]
    assert abs(cells[1] - cells[0]).mean() < 3, "strength 0 returns the picture"
    assert abs(cells[2] - cells[0]).mean() > 10
