"""The record of a run: machine facts, and the results of each benchmark by repeat."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1
"""Of the file format."""

NAMES = ("name", "system", "load", "deadlines", "megapixels", "max_pixels", "policy", "replicas", "seed", "steps")
"""Fields that name an entry of a list, so that two records match whatever its order."""


class RecordError(ValueError):
    """A file that is no record.

    The message names the file and the fault.
    """


@dataclass(frozen=True)
class Measured:
    """One benchmark: its result for each repeat that ended well, the exit codes of the others."""

    benchmark: str
    results: list[dict[str, Any]] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Record:
    """What `python -m benchmarks.suite` measured.

    commit: of the checkout, "-dirty" after it if files were changed. started: UTC, ISO 8601. machine:
    `benchmarks.machine.facts`.
    """

    commit: str
    started: str
    machine: dict[str, Any]
    measured: list[Measured]
    version: int = VERSION

    def text(self) -> str:
        """The record as one line of JSON; a figure that is not a number is null."""
        return json.dumps(_finite(asdict(self)), ensure_ascii=False, allow_nan=False)


def read(path: Path) -> Record:
    """Read a record.

    Raises `RecordError` for another kind of file and another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RecordError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise RecordError(f"{path}: not a record of `python -m benchmarks.suite`, version {VERSION}")
    try:
        measured = [Measured(**entry) for entry in content.pop("measured")]
        return Record(**content, measured=measured)
    except (KeyError, TypeError) as error:
        raise RecordError(f"{path}: a damaged record: {error}") from error


def figures(result: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a result by path, such as `rows[max_pixels=1048576].ratio`."""
    for key, value in result.items():
        yield from _figures(value, f"{prefix}.{key}" if prefix else key)


def _figures(value: Any, path: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)
    elif isinstance(value, Mapping):
        yield from figures(value, path)
    elif isinstance(value, list):
        for place, entry in enumerate(value):
            yield from _figures(entry, f"{path}[{_name(entry, place)}]")


def _name(entry: Any, place: int) -> str:
    named = [f"{key}={entry[key]}" for key in NAMES if key in entry] if isinstance(entry, Mapping) else []
    return ",".join(named) or str(place)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
