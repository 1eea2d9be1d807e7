"""Every environment variable of every service stands in its README, with its default and meaning, and no other does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from services.common.settings import DiffusionSettings, ModelSettings, ServiceSettings
from services.fill.settings import FillSettings
from services.orchestrator.settings import OrchestratorSettings
from services.qwen_edit.settings import QwenEditSettings
from services.segmentation.settings import SegmentationSettings

ROOT = Path(__file__).parents[3]

SETTINGS = {
    "orchestrator": OrchestratorSettings,
    "segmentation": SegmentationSettings,
    "fill": FillSettings,
    "qwen_edit": QwenEditSettings,
}
SHARED = (ServiceSettings, ModelSettings, DiffusionSettings)

ROW = re.compile(r"^\| `(IMGEDIT_[^`]+)` \|.*\|$", re.MULTILINE)


def row(variable: str, field: FieldInfo) -> str:
    """The line of the table that a setting must have."""
    return f"| `{variable}` | {shown(field)} | {field.description} |"


def shown(field: FieldInfo) -> str:
    """A default as the tables write it."""
    default: Any = field.default
    if field.is_required():
        return "set by each service"
    if isinstance(default, Path) and default.is_relative_to(ROOT):
        return f"`{default.relative_to(ROOT)}`"
    if default == "":
        return "empty"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


def rows_in(text: str) -> list[str]:
    return [match[0] for match in ROW.finditer(text)]


@pytest.mark.parametrize("service", SETTINGS)
def test_the_readme_of_a_service_lists_its_settings_and_no_other(service: str) -> None:
    settings = SETTINGS[service]
    prefix = settings.model_config["env_prefix"]
    expected = [row(f"{prefix}{name.upper()}", field) for name, field in settings.model_fields.items()]
    found = rows_in((ROOT / "services" / service / "README.md").read_text(encoding="utf-8"))
    assert sorted(found) == sorted(expected)


def test_the_readme_of_common_lists_what_each_kind_of_service_reads() -> None:
    text = (ROOT / "services" / "common" / "README.md").read_text(encoding="utf-8")
    _, *sections = re.split(r"^### `(\w+)`", text, flags=re.MULTILINE)
    found = {name: rows_in(section) for name, section in zip(sections[::2], sections[1::2], strict=True)}
    expected = {
        kind.__name__: [
            row(f"IMGEDIT_<SERVICE>_{name.upper()}", kind.model_fields[name])
            for name in kind.__annotations__
            if name in kind.model_fields
        ]
        for kind in SHARED
    }
    assert found == expected


def test_every_setting_says_what_it_means() -> None:
    silent = [
        f"{settings.__name__}.{name}"
        for settings in (*SHARED, *SETTINGS.values())
        for name, field in settings.model_fields.items()
        if not field.description
    ]
    assert not silent
