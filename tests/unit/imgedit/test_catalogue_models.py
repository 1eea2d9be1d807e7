"""Models where the prototype's configuration file says they lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgedit.errors import SettingsError
from imgedit.local.catalogue_models import SETTING, settings_of


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """The folders of the prototype's guide: BEN2 and Qwen as folders, FLUX.1-Fill as a GGUF file."""
    for name in ("BEN2", "Qwen-Image-Edit-2509"):
        (tmp_path / name).mkdir()
    (tmp_path / "FLUX.1-Fill-dev-Q8_0.gguf").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def catalogue(disk: Path, **paths: str | None) -> dict[str, str]:
    """The environment with a catalogue of these paths, as the guide's file has them."""
    given = {"BEN2": "BEN2", "FLUX.1-Fill": "FLUX.1-Fill-dev-Q8_0.gguf", "Qwen-Image-Edit-2509": "Qwen-Image-Edit-2509"}
    lines = ["experiments:", "  - id: one", "    models:"]
    for model_id, path in (given | paths).items():
        lines.append(f"      - model_id: {model_id}")
        if path is not None:
            lines.append(f"        path: {disk / path}")
    lines += ["  - id: two", "    models:", "      - model_id: BEN2"]
    file = disk / "experiments.yaml"
    file.write_text("\n".join(lines))
    return {SETTING: str(file)}


def test_each_service_loads_what_the_catalogue_names(disk: Path) -> None:
    assert settings_of(catalogue(disk)) == {
        "IMGEDIT_SEGMENTATION_MODELS": str(disk),
        "IMGEDIT_SEGMENTATION_FOLDER": "BEN2",
        "IMGEDIT_FILL_MODELS": str(disk),
        "IMGEDIT_FILL_GGUF": "FLUX.1-Fill-dev-Q8_0.gguf",
        "IMGEDIT_QWEN_EDIT_MODELS": str(disk),
        "IMGEDIT_QWEN_EDIT_FOLDER": "Qwen-Image-Edit-2509",
    }


def test_a_catalogue_without_paths_says_nothing(disk: Path) -> None:
    nowhere = {"BEN2": None, "FLUX.1-Fill": None, "Qwen-Image-Edit-2509": None}
    assert settings_of(catalogue(disk, **nowhere)) == {}
    assert settings_of({}) == {}


def test_a_set_folder_precedes_the_catalogue(disk: Path) -> None:
    environment = catalogue(disk, **{"FLUX.1-Fill": "gone"}) | {"IMGEDIT_FILL_MODELS": "/elsewhere"}
    assert not any(name.startswith("IMGEDIT_FILL") for name in settings_of(environment))


@pytest.mark.parametrize(
    ("paths", "said"),
    [
        ({"FLUX.1-Fill": "gone.gguf"}, r"gone\.gguf is not on this machine"),
        ({"BEN2": "notes.txt"}, r"notes\.txt is neither a folder nor a GGUF file"),
        ({"BEN2": "FLUX.1-Fill-dev-Q8_0.gguf"}, "neither a folder nor a GGUF file of a diffusion model"),
        ({"FLUX.1-Fill": None}, "no path for FLUX.1-Fill; "),
        ({"Qwen-Image-Edit-2511": "BEN2"}, "has two paths"),
    ],
)
def test_paths_that_no_service_can_load_are_named(disk: Path, paths: dict[str, str | None], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        settings_of(catalogue(disk, **paths))


def test_a_file_that_is_no_catalogue_is_named(disk: Path) -> None:
    file = disk / "broken.yaml"
    file.write_text("a: [")
    with pytest.raises(SettingsError, match=f"{SETTING}=.*broken"):
        settings_of({SETTING: str(file)})
    file.write_text("- experiments")
    assert settings_of({SETTING: str(file)}) == {}
