"""The manual's notebook, cell by cell, against an orchestrator.

The model services behind it are scripted.
"""

from __future__ import annotations

import ast
import asyncio
import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .scripted import picture, world

pytestmark = pytest.mark.slow

NOTEBOOK = Path(__file__).parents[2] / "docs/client.ipynb"
CELLS = json.loads(NOTEBOOK.read_text("utf-8"))["cells"]
TARGET = "127.0.0.1:50051"


def run(cell: str, names: dict[str, Any]) -> Any:
    """The cell's last expression, as a notebook would show it; None for a statement."""
    body = ast.parse(cell).body
    last = body[-1]
    if not isinstance(last, ast.Expr):
        exec(compile(cell, NOTEBOOK.name, "exec"), names)
        return None
    exec(compile(ast.Module(body[:-1], []), NOTEBOOK.name, "exec"), names)
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def run_all(target: str) -> tuple[list[Any], str]:
    """The shown values of all code cells, and their printed text."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    sources = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
    assert sum(TARGET in source for source in sources) == 1
    with contextlib.redirect_stdout(printed):
        return [run(source.replace(TARGET, target), names) for source in sources], printed.getvalue()


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


async def test_every_cell_of_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.open(io.BytesIO(picture(96, 64))).convert("RGB").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    async with world() as running:
        shown, printed = await asyncio.to_thread(run_all, f"127.0.0.1:{running.orchestrator.port}")
    pictures = [one for one in shown if hasattr(one, "_repr_mimebundle_") or isinstance(one, Image.Image)]
    assert len(pictures) == 4
    for line in (
        "ben2_flux_fill ['inpainting', 'outpainting']",
        "True\n128 JPEG ",
        "3 of 3, 1 failed",
        "succeeded True",
    ):
        assert line in printed
    assert "steps: must be 10 to 50, is 9" in printed
    assert files_in(tmp_path) == {"photo.jpg", "gym.png", "wide.jpg"}


def test_the_notebook_holds_no_outputs_and_is_well_formed() -> None:
    content = json.loads(NOTEBOOK.read_text("utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)
