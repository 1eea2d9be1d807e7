"""The ComfyUI prototype's configuration file, which loads unchanged.

Knows its keys, as plain values; the catalogue's own form is `models.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def adopt_chains(values: dict[str, Any], shipped: dict[str, Any]) -> None:
    """Give features without stages the chains and tasks of the shipped ones."""
    known = {
        (experiment["id"], feature["id"]): feature
        for experiment in shipped["experiments"]
        for feature in experiment["features"]
    }
    for experiment in _mappings(values.get("experiments")):
        for feature in _mappings(experiment.get("features")):
            ids = experiment.get("id"), feature.get("id")
            found = known.get(ids) if all(isinstance(name, str) for name in ids) else None
            if found is not None and "stages" not in feature:
                for key in ("stages", "parameters", "profiles", "task", "examples"):
                    feature.setdefault(key, found[key])


def _mappings(values: Any) -> Iterator[dict[str, Any]]:
    return (value for value in values if isinstance(value, dict)) if isinstance(values, list) else iter(())
