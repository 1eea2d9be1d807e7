"""What pydantic finds wrong with a catalogue, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from services.orchestrator.catalogue.yaml_file import Key, YamlFile


def fault(message: str, *keys: Key) -> PydanticCustomError:
    """What a validator of a whole object raises; `keys` lead from that object to what is at fault."""
    return PydanticCustomError("catalogue", "{message}", {"message": message, "keys": keys})


def lines(file: YamlFile, error: ValidationError) -> Iterator[str]:
    """One line of text per fault: file, line, field, and what is wrong."""
    details = error.errors()
    locations = [found["loc"] for found in details]
    for found in details:
        loc = found["loc"]
        if found["type"] == "too_short" and any(other[: len(loc)] == loc != other for other in locations):
            continue  # the list is not empty: its items were refused, each with a fault of its own
        yield file.fault((*loc, *found.get("ctx", {}).get("keys", ())), _message(found))


def _message(found: ErrorDetails) -> str:
    match found["type"]:
        case "catalogue":
            return str(found["ctx"]["message"])
        case "union_tag_invalid":
            return _no_such_stage(str(found["ctx"]["tag"]), str(found["ctx"]["expected_tags"]))
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "there is no such key"
        case "tuple_type":
            return "must be a list" + _shown(found["input"])
        case "model_type":
            return "must be a mapping" + _shown(found["input"])
    return found["msg"] + _shown(found["input"])


def _shown(value: object) -> str:
    """A value that is short enough to be named; a whole number of thousands of digits has no text at all."""
    is_short = value is None or isinstance(value, str | float) or (isinstance(value, int) and value.bit_length() < 64)
    return f", is {value!r:.80}" if is_short else ""


def _no_such_stage(kind: str, known: str) -> str:
    near = difflib.get_close_matches(kind, known.replace("'", "").split(", "), n=1)
    hint = f"; did you mean {near[0]}?" if near else f"; there are {known}"
    return f"there is no stage {kind!r}{hint}"
