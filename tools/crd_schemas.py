"""`python -m tools.crd_schemas FILE …`: shorten CRDs for the tests.

Writes tests/data/crds/KIND.GROUP.VERSION.json for each stable version: the schema without descriptions, defaults and
CEL rules. tests/data/crds/README.md names the sources.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[1] / "tests" / "data" / "crds"

VERSIONS = ("v1", "v1alpha1")

KEPT = {
    "additionalProperties", "allOf", "anyOf", "enum", "format", "items", "maxItems", "maxLength", "maxProperties",
    "maximum", "minItems", "minLength", "minProperties", "minimum", "not", "nullable", "oneOf", "pattern", "properties",
    "required", "type", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
}  # fmt: skip


def main() -> None:
    """Write the schemas of the given files."""
    FOLDER.mkdir(exist_ok=True)
    for path in map(Path, sys.argv[1:]):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
        for version in spec["versions"]:
            if version["served"] and version["name"] in VERSIONS:
                name = f"{spec['names']['kind']}.{spec['group']}.{version['name']}.json"
                schema = shortened(version["schema"]["openAPIV3Schema"])
                text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
                (FOLDER / name).write_text(f"{text}\n", encoding="utf-8")


def shortened(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with nothing but its constraints."""
    found: dict[str, Any] = {}
    for key, value in schema.items():
        if key not in KEPT:
            continue
        if key == "properties":
            found[key] = {name: shortened(part) for name, part in value.items()}
        elif key in ("items", "not", "additionalProperties") and isinstance(value, dict):
            found[key] = shortened(value)
        elif key in ("anyOf", "oneOf", "allOf"):
            found[key] = [shortened(part) for part in value]
        else:
            found[key] = value
    return found


if __name__ == "__main__":
    main()
