"""Facts from pyproject.toml for generated files."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def documentation() -> str:
    """The address of the folder `docs`, by `project.urls` of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Documentation"]).rpartition("/")[0]
