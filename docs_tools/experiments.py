"""The reference of the shipped catalogue: each feature's chain and ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from docs_tools.markdown import code, table, titled

CATALOGUE = Path(__file__).parents[1] / "config" / "experiments.yaml"

HEAD = """# Experiments

The shipped `config/experiments.yaml`; `imgedit experiments` lists a server's own. Out-of-range
values are rejected, never clamped. *recommended* is the guide's advice for the feature.
[Parameters](../parameters.md) shows their effects.

"""


def page(folder: Path) -> dict[Path, str]:
    """The page, by path."""
    content = yaml.safe_load(CATALOGUE.read_text(encoding="utf-8"))
    return {folder / "experiments.md": titled(HEAD) + "".join(map(_experiment, content["experiments"]))}


def _experiment(experiment: dict[str, Any]) -> str:
    models = ", ".join(model["model_id"] for model in experiment["models"])
    head = f"## {experiment['id']}\n\n{experiment['name']} – {experiment['description']}. Models: {models}.\n\n"
    return head + "".join(map(_feature, experiment["features"]))


def _feature(feature: dict[str, Any]) -> str:
    stages = " → ".join(code(stage if isinstance(stage, str) else next(iter(stage))) for stage in feature["stages"])
    rows = [
        (
            code(name),
            _number(spec["default"]),
            f"{_number(spec['min'])} – {_number(spec['max'])}",
            " – ".join(dict.fromkeys(_number(value) for value in spec.get("recommended", []))),
        )
        for name, spec in feature.get("parameters", {}).items()
    ]
    profiles = "; ".join(f"`{name}`: {_values(values)}" for name, values in feature.get("profiles", {}).items())
    numbers = table(["parameter", "default", "range", "recommended"], rows) if rows else "It takes no prompt.\n\n"
    head = f"### {feature['id']}\n\n{feature['name']}: {stages}. {_task(feature)}\n\n{numbers}"
    return head + (f"Profiles: {profiles}.\n\n" if profiles else "")


def _task(feature: dict[str, Any]) -> str:
    return f"Task on the page: {feature['task']['ko']} ({feature['task']['en']})."


def _values(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_number(value)}" for name, value in values.items())


def _number(value: float) -> str:
    return f"{value:g}"
