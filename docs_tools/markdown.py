"""Markdown helpers: page heads, tables, code."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MADE = "<!-- Made by `python -m docs_tools.build` (`make protos`); do not edit. -->"


def titled(head: str) -> str:
    """The head of a generated page, its title first.

    Sites take a page's name from its first line.
    """
    title, _, rest = head.partition("\n\n")
    return f"{title}\n\n{MADE}\n\n{rest}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with escaped cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(_cell(cell) for cell in line)} |\n" for line in lines) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """A name or value as code; empty stays empty."""
    return f"`{text}`" if text else ""
