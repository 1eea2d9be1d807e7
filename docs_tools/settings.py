"""The reference of settings: every environment variable of every service."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from docs_tools.markdown import code, table, titled
from imgedit.local.services import TABLE
from services.common.settings import ServerSettings

ROOT = Path(__file__).parents[1]
HEAD = """# Settings

Each service reads its settings from environment variables at its start. An invalid value or an unknown variable stops
the start and is named. `imgedit up` passes on its own environment; in Kubernetes the overlay's ConfigMaps hold them.
[Memory and speed](../models.md) and [Security](../security.md) explain most of them.

"""


def page(folder: Path) -> dict[Path, str]:
    """The page, by path."""
    return {folder / "settings.md": titled(HEAD) + "".join(_service(settings_of(row.name)) for row in TABLE)}


def settings_of(service: str) -> type[ServerSettings]:
    """Return the settings class of a service, named after it."""
    module = importlib.import_module(f"services.{service}.settings")
    return next(
        found
        for found in vars(module).values()
        if isinstance(found, type) and issubclass(found, ServerSettings) and found.__dict__.get("service") == service
    )


def _service(settings: type[ServerSettings]) -> str:
    rows = [
        (code(settings.variable(name)), _default(field), field.description or "")
        for name, field in settings.model_fields.items()
    ]
    return f"## {settings.service}\n\n{table(['variable', 'default', 'meaning'], rows)}"


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        default = default.relative_to(ROOT)
    if default == "":
        return "empty"
    if isinstance(default, bool):
        return code(str(default).lower())
    return code(f"{default:g}" if isinstance(default, float) else str(default))
