"""`make release` releases a whole version or refuses in one line, unchanged."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import release, wheel

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

CHANGES = """# Changelog

## [Unreleased]

## [0.2.0] - 2030-01-31

### Added

- A thing.

## [0.1.0] - 2029-12-31

### Added

- The first thing.
"""
GENERATOR = """
from pathlib import Path
from imgedit import __version__
Path("made.txt").write_text(__version__)
"""
PROJECT = """[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[project]
name = "imgedit-serving"
dynamic = ["version"]
[project.urls]
Repository = "https://{host}/imgedit"
[tool.setuptools.dynamic]
version = {{ attr = "imgedit.__version__" }}
[tool.setuptools.packages.find]
include = ["imgedit"]
"""


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project with the places that state a version, all committed."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    for person in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{person}_NAME", "A maintainer")
        monkeypatch.setenv(f"GIT_{person}_EMAIL", "maintainer@example.com")
    root = tmp_path / "project"
    stated = dict.fromkeys(release.PLACES, "image: imgedit-fill:0.1.0\nimage: envoy:0.1.0\nnewTag: 0.1.0\n")
    generators = {f"{module.replace('.', '/')}.py": GENERATOR for module in release.REGENERATE}
    generators |= {f"{module.partition('.')[0]}/__init__.py": "" for module in release.REGENERATE}
    others = dict.fromkeys(release.ADDRESSED, "") | {
        "LICENSE": "",
        "made.txt": "0.1.0",
        ".gitignore": "build/\n__pycache__/\n",
    }
    write(root, stated | generators | others)
    write(root, {"imgedit/__init__.py": '__version__ = "0.1.0"\n', "CHANGELOG.md": CHANGES})
    write(root, {"SECURITY.md": "security@example.com"})
    write(root, {"pyproject.toml": PROJECT.format(host="git.example.com")})
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "Begin")
    return root


def test_a_release_is_committed_built_and_tagged(repository: Path) -> None:
    tag, built = release.release(repository, "0.2.0")
    assert (tag, built.name) == ("v0.2.0", "imgedit_serving-0.2.0-py3-none-any.whl")
    assert git(repository, "log", "-1", "--format=%s") == "Release 0.2.0"
    assert git(repository, "rev-parse", "v0.2.0^{commit}") == git(repository, "rev-parse", "HEAD")
    assert git(repository, "status", "--porcelain") == ""
    assert (repository / "made.txt").read_text() == "0.2.0"
    text = (repository / "deploy/docker/compose.yaml").read_text()
    assert text == "image: imgedit-fill:0.2.0\nimage: envoy:0.1.0\nnewTag: 0.2.0\n"


def test_the_version_that_the_code_states_needs_no_commit(repository: Path) -> None:
    before = git(repository, "rev-parse", "HEAD")
    tag, built = release.release(repository, "0.1.0")
    assert (tag, built.exists()) == ("v0.1.0", True)
    assert git(repository, "rev-parse", "v0.1.0^{commit}") == before


def edited(name: str, old: str, new: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        path = root / name
        path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        git(root, "commit", "--all", "--quiet", "--message", "Edit")

    return edit


@pytest.mark.parametrize(
    ("harm", "version", "words"),
    [
        (lambda root: None, "", "'' is not a version; try: make release VERSION=0.2.0"),
        (lambda root: None, "v0.2.0", "write the version as 0.2.0"),
        (lambda root: None, "0.0.9", "older than 0.1.0"),
        (lambda root: None, "0.3.0", "CHANGELOG.md has no section [0.3.0]"),
        (lambda root: write(root, {"new.txt": ""}), "0.2.0", "the working tree has changes"),
        (lambda root: git(root, "tag", "v0.2.0"), "0.2.0", "the tag v0.2.0 exists"),
        (edited("CHANGELOG.md", "[Unreleased]\n", "[Unreleased]\n\n- A fix.\n"), "0.2.0", "[Unreleased]"),
        (edited("CHANGELOG.md", " - 2030-01-31", ""), "0.2.0", "YYYY-MM-DD"),
        (edited("CHANGELOG.md", "- A thing.", ""), "0.2.0", "has no entries"),
        (edited("SECURITY.md", "example.com", "example.org"), "0.2.0", "SECURITY.md: replace"),
        (edited("pyproject.toml", "example.com", "example.org"), "0.2.0", "pyproject.toml: replace"),
    ],
    ids=["none", "form", "older", "section", "changes", "tag", "unreleased", "date", "empty", "mail", "address"],
)
def test_a_release_that_is_not_ready_is_refused_with_nothing_changed(
    harm: Callable[[Path], None], version: str, words: str, repository: Path
) -> None:
    harm(repository)
    before = git(repository, "rev-parse", "HEAD"), git(repository, "tag", "--list"), git(repository, "status", "-s")
    with pytest.raises(release.Refusal, match=re.escape(words)):
        release.release(repository, version)
    after = git(repository, "rev-parse", "HEAD"), git(repository, "tag", "--list"), git(repository, "status", "-s")
    assert after == before


def test_a_build_that_fails_leaves_no_tag_and_the_same_command_goes_on(repository: Path) -> None:
    edited("pyproject.toml", 'name = "imgedit-serving"', 'name = "-"')(repository)
    with pytest.raises(wheel.BuildError):
        release.release(repository, "0.2.0")
    assert git(repository, "tag", "--list") == ""
    edited("pyproject.toml", 'name = "-"', 'name = "imgedit-serving"')(repository)
    assert release.release(repository, "0.2.0")[0] == "v0.2.0"


def test_the_command_refuses_in_one_line(repository: Path) -> None:
    shutil.copytree(ROOT / "tools", repository / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "tools.release", "0.2.0"], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "release: the working tree has changes; commit or remove them first\n"


def test_every_place_that_states_the_version_is_bumped() -> None:
    current = release._stated(ROOT)
    pattern = rf'(__version__ = "|imgedit-[a-z-]+:|newTag: ){re.escape(current)}'
    found = git(ROOT, "grep", "--name-only", "--extended-regexp", pattern, "--", ":!tests").splitlines()
    assert set(found) == set(release.PLACES)


def test_every_hand_written_file_with_a_placeholder_is_known() -> None:
    """Dashboards are generated from pyproject.toml."""
    patterns = [word for address in release.PLACEHOLDERS for word in ("-e", address)]
    places = (":!tests", ":!tools", ":!deploy/grafana/dashboards/*.json")
    found = git(ROOT, "grep", "--name-only", "--fixed-strings", *patterns, "--", *places).splitlines()
    assert set(found) == set(release.ADDRESSED)
