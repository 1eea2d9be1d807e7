"""Strict validation of custom kinds by the schemas in tests/data/crds."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import jsonschema

from tests.deploy.kubernetes import ROOT, Object

FOLDER = ROOT / "tests" / "data" / "crds"
KINDS = frozenset(path.name.split(".")[0] for path in FOLDER.glob("*.json"))


def validate(item: Object) -> None:
    """Raise `jsonschema.ValidationError` for an unknown, missing or wrong field."""
    jsonschema.Draft7Validator(_schema(item["kind"], item["apiVersion"])).validate(item)


@cache
def _schema(kind: str, api_version: str) -> Object:
    group, _, version = api_version.partition("/")
    schema: Object = _strict(json.loads((FOLDER / f"{kind}.{group}.{version}.json").read_text(encoding="utf-8")))
    return schema


def _strict(schema: Any) -> Any:
    """Refuse unknown fields, as `kubectl --validate=strict` does."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _strict(value) for key, value in schema.items()}
    # A property may be called "properties"; a schema's properties are a mapping of schemas.
    is_open = found.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in found
    if found.get("type") == "object" and isinstance(found.get("properties"), dict) and not is_open:
        found["additionalProperties"] = False
    return found
