"""Turn pydantic's errors into messages for the author of a catalogue file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from services.orchestrator.catalogue.yaml_file import Key, YamlFile


def fault(message: str, *keys: Key) -> PydanticCustomError:
    """Raised by validators of whole objects; `keys` lead from there to the fault."""
    return PydanticCustomError("catalogue", "{message}", {"message": message, "keys": keys})


def lines(file: YamlFile, error: ValidationError, root: type[BaseModel]) -> Iterator[str]:
    """One line of text per fault: file, line, field and problem.

    root: the model of the whole file.
    """
    details = error.errors()
    locations = [found["loc"] for found in details]
    for found in details:
        loc = found["loc"]
        if found["type"] == "too_short" and any(other[: len(loc)] == loc != other for other in locations):
            continue  # the list is not empty: each rejected item has its own fault
        yield file.fault((*loc, *found.get("ctx", {}).get("keys", ())), _message(found, root))


def _message(found: ErrorDetails, root: type[BaseModel]) -> str:
    match found["type"]:
        case "catalogue":
            return str(found["ctx"]["message"])
        case "union_tag_invalid":
            return _no_such_stage(str(found["ctx"]["tag"]), str(found["ctx"]["expected_tags"]))
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return _no_such_key(str(found["loc"][-1]), _keys_at(root, found["loc"][:-1]))
        case "tuple_type":
            return "must be a list" + _shown(found["input"])
        case "model_type":
            return "must be a mapping" + _shown(found["input"])
    return found["msg"] + _shown(found["input"])


def _shown(value: object) -> str:
    """A value short enough to quote; an integer with thousands of digits has no text."""
    is_short = value is None or isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 64)
    return f", is {value!r:.80}" if is_short else ""


def _no_such_key(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    return f"there is no such key; {hint}"


def _keys_at(root: type[BaseModel], loc: Sequence[Key]) -> list[str]:
    """The allowed keys of the mapping at this place of the file, in model order."""
    models = [root]
    for part in loc:
        if isinstance(part, int):
            continue
        inside = [found for model in models if part in model.model_fields for found in _models_in(model, part)]
        tagged = [model for model in models if "kind" in model.model_fields]
        models = inside or [model for model in tagged if model.model_fields["kind"].default == part]
    return list(dict.fromkeys(name for model in models for name in model.model_fields if name != "kind"))


def _models_in(model: type[BaseModel], field: str) -> list[type[BaseModel]]:
    """The models among a field's types, inside unions and lists too."""
    found: list[type[BaseModel]] = []
    left: list[Any] = [model.model_fields[field].annotation]
    while left:
        kind = left.pop(0)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            found.append(kind)
        left.extend(get_args(kind))
    return found


def _no_such_stage(kind: str, known: str) -> str:
    near = difflib.get_close_matches(kind, known.replace("'", "").split(", "), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {known}"
    return f"there is no stage {kind!r}{hint}"
