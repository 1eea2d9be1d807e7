"""Where `imgedit up --studio` puts the page's gallery."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgedit.cli.machine.up import gallery_folder


def test_the_setting_decides_and_an_empty_one_turns_the_gallery_off() -> None:
    assert gallery_folder({"IMGEDIT_STUDIO_GALLERY": "/srv/gallery", "XDG_DATA_HOME": "/data"}) == "/srv/gallery"
    assert gallery_folder({"IMGEDIT_STUDIO_GALLERY": "", "XDG_DATA_HOME": "/data"}) == ""


def test_unset_it_lies_with_the_users_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/kim")
    assert gallery_folder({"XDG_DATA_HOME": "/data"}) == "/data/imgedit/gallery"
    assert gallery_folder({}) == "/home/kim/.local/share/imgedit/gallery"


def test_a_user_without_a_home_has_no_gallery(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError(f"{path}: no home")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert gallery_folder({}) == ""
