"""`python -m docs_tools.build [--check]`: generate docs/reference from the code.

--check writes nothing and reports stale pages.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from docs_tools import commands, errors, experiments, openai, protos, settings

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def main() -> int:
    """Write the pages, or compare them with their expected content."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a page is not current")
    is_check = parser.parse_args().check
    pages = made()
    stale = [path for path in FOLDER.iterdir() if path not in pages]
    for path, text in pages.items():
        if is_check and (not path.exists() or path.read_text(encoding="utf-8") != text):
            stale.append(path)
        elif not is_check:
            path.write_text(text, encoding="utf-8")
    if stale:
        names = ", ".join(path.name for path in stale)
        print(f"docs/reference: not current, run `make protos`: {names}", file=sys.stderr)
    return 1 if stale else 0


def made() -> dict[Path, str]:
    """The expected content of each page."""
    pages = protos.pages(FOLDER)
    for module in (errors, commands, settings, experiments, openai):
        pages |= module.page(FOLDER)
    return pages


if __name__ == "__main__":
    sys.exit(main())
