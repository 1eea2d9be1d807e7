"""A YAML file made to exhaust its reader is refused as soon as it shows."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from imgedit.errors import SettingsError
from services.orchestrator.catalogue import yaml_file

EXHAUSTING = {
    "brackets": ("[" * 200_000, "nested"),
    "braces": ("{" * 200_000, "nested"),
    "brackets on lines": ("[\n" * 100_000, "nested"),
    "dashes": ("- " * 100_000, "nested"),
    "question marks": ("? " * 100_000, "nested"),
    "keys in brackets": ("[a: " * 50_000, "nested"),
    "deeper and deeper": ("".join(" " * depth + "a:\n" for depth in range(600)), "nested"),
    "values on one line": (f"[{'a,' * 120_000}]", "over 10000 values"),
    "values on lines": ("- a\n" * 60_000, "over 10000 values"),
    "a number in base 60": (f"a: {':'.join(['59'] * 60_000)}", "over 10000 characters"),
    "a long key": (f"{'k' * 20_000}: 1", "over 10000 characters"),
}


@pytest.mark.parametrize("name", EXHAUSTING)
def test_a_file_without_end_is_refused_at_once(name: str, tmp_path: Path) -> None:
    text, says = EXHAUSTING[name]
    path = tmp_path / "catalogue.yaml"
    path.write_text(text, encoding="utf-8")
    started = time.process_time()
    with pytest.raises(SettingsError, match=says):
        yaml_file.read_yaml(path)
    assert time.process_time() - started < 10


def test_a_message_does_not_repeat_what_is_without_end(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(f"{'!' * 200_000} a", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        yaml_file.read_yaml(path)
    assert len(str(caught.value)) < 600


def test_what_is_nested_as_deep_as_is_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    depth = yaml_file.MAX_DEPTH
    path.write_text("[" * depth + "]" * depth, encoding="utf-8")
    assert yaml_file.read_yaml(path).values
