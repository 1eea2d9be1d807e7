"""The JSON Schema of a catalogue file, for editors, generated from the models.

It checks what an editor can check while you type. `load` also checks orders of stages and nested ranges.
"""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel

from services.orchestrator.catalogue import models
from services.orchestrator.catalogue.models import SHIPPED, Catalogue

ID = "https://json-schema.org/draft/2020-12/schema"

_CLASSES: tuple[type[BaseModel], ...] = tuple(get_args(part)[0] for part in get_args(get_args(models.Stage)[0]))

STAGES = {str(cls.model_fields["kind"].default): cls for cls in _CLASSES}
"""The options of each stage kind."""

BARE = tuple(kind for kind, cls in STAGES.items() if not any(f.is_required() for f in cls.model_fields.values()))
"""The kinds that may stand without options."""


def make() -> dict[str, Any]:
    """The schema as a JSON object."""
    schema = Catalogue.model_json_schema()
    definitions = schema["$defs"]
    for kind, cls in STAGES.items():
        del definitions[cls.__name__]["properties"]["kind"]
        if kind in BARE:
            definitions[cls.__name__]["type"] = ["object", "null"]  # `fill:` without a value is `fill`
    feature = definitions["Feature"]
    feature["properties"]["stages"]["items"] = {"$ref": "#/$defs/Stage"}
    feature["required"].remove("stages")
    feature["anyOf"] = [{"required": ["stages"]}, {"properties": {"id": {"enum": _shipped_features()}}}]
    definitions["Stage"] = _stage()
    return {"$schema": ID, **schema, "title": "imgedit experiment catalogue"}


def _stage() -> dict[str, Any]:
    """A stage as a file writes it: its name, or its name with options."""
    return {
        "description": "A stage of the chain: its name, or its name with options.",
        "oneOf": [
            {"enum": list(BARE)},
            {
                "type": "object",
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
                "properties": {kind: {"$ref": f"#/$defs/{cls.__name__}"} for kind, cls in STAGES.items()},
            },
        ],
    }


def _shipped_features() -> list[str]:
    """The features that may omit their stages, as the ComfyUI prototype's file does."""
    return [feature.id for experiment in models.load(SHIPPED).experiments for feature in experiment.features]
