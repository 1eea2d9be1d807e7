"""The environment of services that serve the demo checkpoints."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgedit.local.ports import Ports
from imgedit.local.supervisor import DEMO_FAST_LORAS, demo_environment_of


def test_pictures_and_references_have_the_size_that_was_taught(tmp_path: Path) -> None:
    environment = demo_environment_of(Ports(), tmp_path)
    assert environment["IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS"] == str(256 * 256)
    assert environment["IMGEDIT_QWEN_EDIT_REFERENCE_PIXELS"] == str(128 * 128)


def test_a_larger_picture_leaves_the_references_as_they_were_taught(tmp_path: Path) -> None:
    environment = demo_environment_of(Ports(), tmp_path, max_work_pixels=512 * 512)
    assert environment["IMGEDIT_ORCHESTRATOR_MAX_WORK_PIXELS"] == str(512 * 512)
    assert environment["IMGEDIT_QWEN_EDIT_REFERENCE_PIXELS"] == str(128 * 128)


@pytest.mark.parametrize("there", [[], [*DEMO_FAST_LORAS][:1], [*DEMO_FAST_LORAS][1:], [*DEMO_FAST_LORAS]])
def test_a_few_step_lora_is_named_where_its_file_is(tmp_path: Path, there: list[str]) -> None:
    for variable in there:
        file = tmp_path / DEMO_FAST_LORAS[variable]
        file.parent.mkdir(parents=True)
        file.touch()
    environment = demo_environment_of(Ports(), tmp_path)
    assert {key: value for key, value in environment.items() if "LORA" in key} == {
        variable: DEMO_FAST_LORAS[variable] for variable in there
    }
