"""`python -m services.orchestrator.catalogue`: check or describe files.

Exit code 0: no fault; 1: faults, one per line with file, line and field; 2: usage error.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from imgedit.errors import SettingsError
from services.orchestrator.catalogue import models, schema


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="imgedit catalogue", description="The experiment catalogue.")
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="Check catalogue files as the orchestrator does at its start.")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.set_defaults(run=lambda options: _check(options.files))
    schema = commands.add_parser("schema", help="Print the JSON Schema of a catalogue file, for editors.")
    schema.set_defaults(run=lambda _: _schema())
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")  # fields without effect
    return int(options.run(options))


def _check(files: list[Path]) -> int:
    return max(_check_one(file) for file in files)


def _check_one(file: Path) -> int:
    try:
        loaded = models.load(file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    found = ", ".join(f"{e.id} ({', '.join(f.id for f in e.features)})" for e in loaded.experiments)
    print(f"{file}: no fault; {found}")
    return 0


def _schema() -> int:
    print(json.dumps(schema.make(), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
