"""The recording rules and alerts: the template with the limits filled in."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
LIMITS = FOLDER / "limits.yaml"
TEMPLATE = FOLDER / "rules.template.yaml"

SLOW_SECONDS = (1, 5, 10, 15, 20, 25, 30, 40, 50, 60, 75, 90, 120, 180, 240, 300, 600)
"""The valid values of `slow_edit_seconds`.

They are the whole bucket bounds of imgedit_edit_duration_seconds.
"""

_PLACE = re.compile("<<([a-z_]+)>>")


class LimitError(ValueError):
    """A limit is missing, unknown or out of its range; the message names it."""


@cache
def limits() -> dict[str, float]:
    """The limits by name, checked. Raises `LimitError`."""
    return checked(yaml.safe_load(LIMITS.read_text(encoding="utf-8")))


def checked(found: Any) -> dict[str, float]:
    """Limits that can be used. Raises `LimitError`."""
    known = set(_PLACE.findall(TEMPLATE.read_text(encoding="utf-8")))
    if not isinstance(found, dict) or set(found) != known:
        names = sorted(known ^ set(found if isinstance(found, dict) else ()))
        raise LimitError(f"{LIMITS.name}: missing or unknown: {', '.join(names)}")
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LimitError(f"{LIMITS.name}: {name} must be a number, is {value!r}")
        if name.endswith("_ratio") and not 0 < value < 1:
            raise LimitError(f"{LIMITS.name}: {name} must be above 0 and below 1, is {value}")
        if not name.endswith("_ratio") and value <= 0:
            raise LimitError(f"{LIMITS.name}: {name} must be above 0, is {value}")
    if found["slow_edit_seconds"] not in SLOW_SECONDS:
        allowed = ", ".join(map(str, SLOW_SECONDS))
        raise LimitError(f"{LIMITS.name}: slow_edit_seconds must be one of {allowed}, is {found['slow_edit_seconds']}")
    return found


def rules() -> bytes:
    """`rules.yaml`, as Prometheus reads it."""
    values = limits()
    text = _PLACE.sub(lambda place: f"{values[place[1]]:g}", TEMPLATE.read_text(encoding="utf-8"))
    return f"# Made from rules.template.yaml and limits.yaml by `make protos`.\n{text}".encode()
