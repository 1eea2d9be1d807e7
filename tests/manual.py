"""The pages of the manual and the READMEs as tests see them.

Their code blocks and their links.

A block says by the comment before it what becomes of it:

    <!-- run: shell -->   <!-- run: python -->      it runs, against a stack
    <!-- check: json -->   also toml, catalogue      it is read by what reads such files
    <!-- new file: PATH -->   <!-- change: PATH -->  it is a file, or a change of one, in a copy of the project
    <!-- not run: why -->                            it does not run here

Blocks in the languages `text` (output, layouts) and `mermaid` need none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
PLAIN_LANGUAGES = ("text", "mermaid")

MARKER = re.compile(r"<!-- (?P<kind>run|check|new file|change|not run): (?P<word>.+?) -->\s*$")
PARSER = MarkdownIt().enable("table")


def pages() -> list[Path]:
    """Every page for people: READMEs, the manual, and what contributors read first."""
    folders = ("docs", "imgedit", "services", "deploy", "demo", "studio", "benchmarks")
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.md")]
    return sorted([*ROOT.glob("README*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *found])


def name_of(page: Path) -> str:
    """The path of a page, for the names of tests."""
    return page.relative_to(ROOT).as_posix()


@dataclass(frozen=True)
class Block:
    """A code block.

    kind, word: of the comment before it, empty if none. line: of its first line.
    """

    line: int
    language: str
    code: str
    kind: str = ""
    word: str = ""


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page. An indented one has the language "indented"."""
    found = []
    before: Token | None = None
    for token in PARSER.parse(page.read_text(encoding="utf-8")):
        if token.type in ("fence", "code_block"):
            match = MARKER.search(before.content) if before is not None and before.type == "html_block" else None
            language = token.info if token.type == "fence" else "indented"
            line = (token.map or [0])[0] + 1
            kind, word = (match["kind"], match["word"]) if match else ("", "")
            found.append(Block(line, language, token.content, kind, word))
        before = token
    return found


def links(page: Path) -> list[str]:
    """The targets of a page's links and pictures."""
    tokens = [child for token in PARSER.parse(page.read_text(encoding="utf-8")) for child in token.children or ()]
    found = [str(token.attrs[key]) for token in tokens for key in ("href", "src") if key in token.attrs]
    in_html = re.findall(r"(?:href|src)=\"([^\"]+)\"", page.read_text(encoding="utf-8"))
    return [unquote(link) for link in (*found, *in_html)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them.

    The site's are the same for ASCII headings.
    """
    tokens = PARSER.parse(page.read_text(encoding="utf-8"))
    titles = [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)|`", r"\1", title) for title in titles]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in plain}
