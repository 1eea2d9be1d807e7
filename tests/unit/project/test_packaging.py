"""The package's name, its lower bounds, and correct installation advice."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from imgedit import installation
from imgedit.errors import SettingsError
from imgedit.local import gateway
from imgedit.weights import pull

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
GENERATED = sorted((ROOT / "imgedit" / "v1").glob("*_pb2*.py"))
TEXTS = (".md", ".py", ".yaml", ".yml", ".toml", ".sh", "Makefile", "Dockerfile")


def lower_bound(name: str) -> Version:
    """The lower bound of a dependency of the client."""
    [needed] = [found for found in map(Requirement, PROJECT["dependencies"]) if found.name == name]
    [bound] = [found.version for found in needed.specifier if found.operator == ">="]
    return Version(bound)


def newest(pattern: str) -> Version:
    """The highest version that generated code demands, by the line that states it."""
    found = re.findall(pattern, "\n".join(path.read_text(encoding="utf-8") for path in GENERATED), re.MULTILINE)
    return max(map(Version, found))


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("protobuf", r"^# Protobuf Python Version: (\S+)$"),
        ("grpcio", r"^GRPC_GENERATED_VERSION = '(\S+)'$"),
    ],
)
def test_the_lower_bounds_are_what_the_generated_code_demands(name: str, pattern: str) -> None:
    assert lower_bound(name) == newest(pattern)


def test_pip_and_the_code_agree_on_the_projects_name() -> None:
    assert PROJECT["name"] == installation.DISTRIBUTION
    extras = PROJECT["optional-dependencies"].values()
    nested = {found.name for extra in extras for found in map(Requirement, extra) if found.extras}
    assert nested == {installation.DISTRIBUTION}


def tracked() -> list[Path]:
    """The texts of the project."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name.endswith(TEXTS)]


def test_no_text_has_people_install_the_other_project_called_imgedit() -> None:
    wrong = re.compile(r"pip install[^`\n]*['\" ]imgedit(?:\[|['\"`\s]|$)")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in tracked()
        if path.exists()
        for line in path.read_text(encoding="utf-8").splitlines()
        if wrong.search(line)
    ]
    assert not found


def test_the_images_remove_the_project_by_its_name_for_pip() -> None:
    """An uninstalled name only causes a warning, and the image would hold two copies."""
    text = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
    assert set(re.findall(r"^RUN pip uninstall --yes (.+)$", text, re.MULTILINE)) == {installation.DISTRIBUTION}


def test_every_extra_that_code_advises_to_install_exists() -> None:
    texts = [path.read_text(encoding="utf-8") for path in tracked() if path.suffix == ".py" and path.exists()]
    advised = {extra for text in texts for extra in re.findall(r"to_install\(['\"]([\w-]+)['\"]\)", text)}
    assert {"models", "studio", "tracing"} <= advised <= set(PROJECT["optional-dependencies"])


def test_the_wheels_advice_on_pulling_is_what_the_extra_names() -> None:
    assert PROJECT["optional-dependencies"]["models"] == [pull.LIBRARY]


def test_this_checkout_has_the_servers() -> None:
    assert installation.has_servers()


@pytest.mark.parametrize("text", [None, "", '"""Another project\'s services."""\nPROJECT = "another"\n'])
def test_another_projects_services_are_not_taken_for_ours(
    text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "services").mkdir()
    if text is not None:
        (tmp_path / "services" / "__init__.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    assert not installation.has_servers()


def test_the_edge_says_where_envoys_configurations_come_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CONFIGURATIONS", tmp_path / "none")
    own = gateway.Address(8080)
    with pytest.raises(SettingsError, match="come with a checkout"):
        gateway.edge_config(public=own, metrics=own, admin=own, orchestrators=[own])
