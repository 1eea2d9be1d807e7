"""The wheel, alone in an environment with what it declares and nothing else.

The client and the CLI work there.

The environments are made without a network: the wheel's dependencies are links to the packages of this one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from imgedit import __version__
from imgedit.cli.exit_codes import ExitCode
from tests.integration.edit_server import RESULT, EditServer, edit_server

ROOT = Path(__file__).parents[2]
SOURCES = ("imgedit", "services", "studio")
FILES = ("pyproject.toml", "LICENSE")
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
OFFLINE = ("--no-deps", "--no-index", "--no-build-isolation", "--quiet")

pytestmark = pytest.mark.slow


def clean() -> dict[str, str]:
    """This environment without paths to the checkout and server names."""
    ours = ("PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV")
    kept = {key: value for key, value in os.environ.items() if key not in ours and not key.startswith("IMGEDIT_")}
    return {**kept, "LANG": "C.UTF-8", "COLUMNS": "400"}


def run(*command: object, cwd: Path, **further: str) -> subprocess.CompletedProcess[str]:
    words, environment = [str(word) for word in command], {**clean(), **further}
    return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)


def successful(*command: object, cwd: Path) -> str:
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a build reads: it leaves files behind."""
    folder = tmp_path_factory.mktemp("project")
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, folder)
    (folder / "demo").mkdir()
    shutil.copy(ROOT / "demo" / "__init__.py", folder / "demo")
    return folder


@pytest.fixture(scope="module")
def wheel(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    successful(*PIP, "wheel", *OFFLINE, "--wheel-dir", folder, project, cwd=folder)
    [built] = folder.glob("*.whl")
    return built


def closure(needed: list[str]) -> dict[str, metadata.Distribution]:
    """The installed distributions that these requirements lead to, by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(Requirement(line), "") for line in needed]
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found or (requirement.marker and not requirement.marker.evaluate({"extra": extra})):
            continue
        found[name] = metadata.distribution(name)
        for inner in found[name].requires or []:
            waiting += [(Requirement(inner), by) for by in ("", *requirement.extras)]
    return found


def make_environment(folder: Path, needed: list[str]) -> Path:
    """An environment that has these packages and no others.

    Where its Python looks for packages.
    """
    venv.create(folder, with_pip=False)
    [site] = folder.glob("lib/python*/site-packages")
    here = Path(sysconfig.get_path("purelib"))
    for distribution in closure(needed).values():
        tops = {path.parts[0] for path in distribution.files or []} - {"..", "__pycache__"}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(here / top)
    return site


@pytest.fixture(scope="module")
def dependencies(wheel: Path) -> list[str]:
    """The requirements of the wheel, without extras."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        lines = archive.read(name).decode().splitlines()
    needed = [line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")]
    return [line for line in needed if "extra ==" not in line]


@pytest.fixture(scope="module")
def installed(wheel: Path, dependencies: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which the wheel alone is installed."""
    folder = tmp_path_factory.mktemp("client")
    make_environment(folder, dependencies)
    successful(*PIP, "--python", folder / "bin" / "python", "install", *OFFLINE, wheel, cwd=folder)
    return folder / "bin"


@pytest.fixture(scope="module")
def server() -> Iterator[EditServer]:
    with edit_server() as running:
        yield running


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.new("RGB", (64, 64), "red").save(path)
    return path


def test_the_wheel_holds_imgedit_and_its_metadata_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"imgedit", f"imgedit_serving-{__version__}.dist-info"}
    kinds = (".py", ".pyi", ".json")
    ours = {path.relative_to(ROOT).as_posix() for path in (ROOT / "imgedit").rglob("*") if path.suffix in kinds}
    assert {name for name in names if name.startswith("imgedit/")} == ours | {"imgedit/py.typed"}


def test_the_metadata_say_who_what_and_where(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    for line in ("Name: imgedit-serving", "License-Expression: Apache-2.0", "Classifier: Typing :: Typed"):
        assert f"{line}\n" in text
    for key in ("Author", "Keywords", "Project-URL: Repository,", "Requires-Python"):
        assert f"\n{key}" in text
    body = text.partition("\n\n")[2]
    assert body.startswith("# imgedit-serving\n")
    assert re.findall(r"\]\(|<img|<a ", body) == []  # no link that may lead nowhere


def test_nothing_of_the_servers_can_be_imported(installed: Path, tmp_path: Path) -> None:
    for name in ("services", "studio", "demo", "torch", "yaml", "pydantic_settings"):
        done = run(installed / "python", "-c", f"import {name}", cwd=tmp_path)
        assert f"No module named '{name}'" in done.stderr


def test_the_help_and_the_list_of_experiments(installed: Path, server: EditServer, tmp_path: Path) -> None:
    shown = successful(installed / "imgedit", "--help", cwd=tmp_path)
    assert "imgedit edit" in shown
    listed = json.loads(
        successful(installed / "imgedit", "experiments", "--target", server.address, "--json", cwd=tmp_path)
    )
    assert listed["experiments"][0]["id"] == "one"


def test_a_picture_is_edited(installed: Path, server: EditServer, photo: Path, tmp_path: Path) -> None:
    options = ("--experiment", "one", "--prompt", "a gym", "--target", server.address, "-o", "gym.png")
    successful(installed / "imgedit", "edit", photo, *options, cwd=tmp_path)
    assert (tmp_path / "gym.png").read_bytes() == RESULT
    assert server.seen[-1].prompt == "a gym"


def test_the_client_edits_a_picture(installed: Path, server: EditServer, photo: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from imgedit import SyncEditClient\n"
        "with SyncEditClient(sys.argv[1]) as client: print(client.edit(sys.argv[2], experiment='one').seed)"
    )
    assert successful(installed / "python", "-W", "error", "-c", code, server.address, photo, cwd=tmp_path) == "7\n"


@pytest.mark.parametrize(
    "command",
    [
        ("up",),
        ("up", "--gateway", "--studio", "--models", "."),
        ("catalogue", "check", "experiments.yaml"),
        ("catalogue", "schema"),
        ("models", "convert", "BEN2_Base.pth", "model.safetensors"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_the_servers_ends_in_one_line(
    command: tuple[str, ...], installed: Path, tmp_path: Path
) -> None:
    stranger = tmp_path / "services"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("raise SystemExit('a stranger runs')\n")
    done = run(installed / "imgedit", *command, cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    [line] = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "needs code of the servers" in line
    assert "checkout" in line
    assert done.stdout == ""


def test_the_line_is_korean_where_that_is_asked_for(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "imgedit", "--lang", "ko", "catalogue", "check", "experiments.yaml", cwd=tmp_path)
    assert done.stderr.startswith("오류: 이 명령에는 서버의 코드가 필요한데")


def test_the_line_is_json_where_that_is_asked_for(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "imgedit", "models", "convert", "a.pth", "b.safetensors", "--json", cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    assert "checkout" in json.loads(done.stdout)["error"]["message"]


def test_pulling_names_the_library_that_the_wheel_leaves_out(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "imgedit", "models", "pull", "ben2", "--models", tmp_path, cwd=tmp_path)
    assert done.returncode == ExitCode.FAILED
    assert "pip install 'huggingface_hub>=2.4'" in done.stderr
    assert "checkout" not in done.stderr
    assert "Traceback" not in done.stderr
    in_korean = run(installed / "imgedit", "--lang", "ko", "models", "pull", "ben2", "--models", tmp_path, cwd=tmp_path)
    assert "설치: pip install 'huggingface_hub>=2.4'" in in_korean.stderr


def test_doctor_looks_at_a_machine_that_has_the_client_only(installed: Path, tmp_path: Path) -> None:
    done = run(installed / "imgedit", "doctor", "--json", cwd=tmp_path)
    found = {finding["name"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert found["packages of the client"]["state"] == "OK"
    assert "torch is missing" in found["packages of fill"]["found"]
    assert "pip install -e '.[fill]'" in found["packages of fill"]["advice"]
    assert (found["devices"]["state"], "only the client" in found["devices"]["found"]) == ("NOTE", True)


def test_an_editable_install_has_the_whole_checkout(project: Path, dependencies: list[str], tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    folder = tmp_path / "editable"
    servers = ("grpcio-reflection", "prometheus-client", "pydantic-settings", "python-json-logger")
    make_environment(folder, [*dependencies, *servers, "setuptools"])
    python = folder / "bin" / "python"
    successful(*PIP, "--python", python, "install", *OFFLINE, "--editable", project, cwd=elsewhere)
    code = "import imgedit, services, studio, demo; print(*(m.__file__ for m in (imgedit, services, studio, demo)))"
    places = successful(python, "-c", code, cwd=elsewhere).split()
    assert [Path(place).parents[1] for place in places] == [project] * 4
    started = run(python, "-m", "services.fill", cwd=elsewhere, IMGEDIT_FILL_STEPZ="1")
    assert "IMGEDIT_FILL_STEPZ: no such setting" in started.stderr
