"""Hooks of `mkdocs build`: add every decision to the navigation, by number."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Add the pages of docs/adr after their index."""
    folder = Path(config["docs_dir"]) / "adr"
    [section] = [
        pages
        for entry in config["nav"]
        if isinstance(entry, dict)
        for pages in entry.values()
        if "adr/index.md" in pages
    ]
    section.extend(f"adr/{path.name}" for path in sorted(folder.glob("[0-9]*.md")))
    return config
