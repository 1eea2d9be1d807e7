"""Check catalogue files, import ComfyUI workflows, write the JSON Schema.

`python -m services.orchestrator.catalogue`. Exit code 0: no fault; 1: a fault, each on a separate line with file, line
and field, or node; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

from imgedit.errors import SettingsError
from services.orchestrator.catalogue import experiments, schema
from services.orchestrator.catalogue.comfyui import importing


def main(arguments: list[str]) -> int:
    """Run one command and return the exit code."""
    parser = argparse.ArgumentParser(prog="imgedit catalogue", description="The experiment catalogue.")
    commands = parser.add_subparsers(required=True)
    check = commands.add_parser("check", help="Check catalogue files as the orchestrator does at its start.")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE")
    check.set_defaults(run=lambda options: _check(options.files))
    imported = commands.add_parser("import", help="Print a ComfyUI workflow (API format) as an experiment.")
    imported.add_argument("file", type=Path, metavar="FILE")
    imported.add_argument("--id", help="id of the experiment; made from the file's name where it is left out")
    imported.add_argument("--save-node", metavar="ID", help="id of the node that saves the result, where several do")
    imported.set_defaults(run=lambda options: _import(options.file, options.id, options.save_node))
    schema = commands.add_parser("schema", help="Print the JSON Schema of a catalogue file, for editors.")
    schema.set_defaults(run=lambda _: _schema())
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s")  # fields without effect
    return int(options.run(options))


def _check(files: list[Path]) -> int:
    return max(_check_one(file) for file in files)


def _check_one(file: Path) -> int:
    try:
        loaded = experiments.load_catalogue(file)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    found = ", ".join(f"{e.id} ({', '.join(f.id for f in e.features)})" for e in loaded.experiments)
    print(f"{file}: no fault; {found}")
    return 0


def _import(file: Path, experiment_id: str | None, save_node: str | None) -> int:
    try:
        text = importing.imported(file, experiment_id, save_node)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    print(text, end="")
    return 0


def _schema() -> int:
    print(json.dumps(schema.make_schema(), indent=2, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
