"""Contributor files are right: targets exist, forms are valid, owners own files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from deploy import build as deploy_build
from docs_tools import build as docs_build

ROOT = Path(__file__).parents[3]
GITHUB = ROOT / ".github"
PAGES = ("CONTRIBUTING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md", "README.md", "README.ko.md")
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def git(*arguments: str) -> list[str]:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()


@pytest.mark.parametrize("page", PAGES)
def test_every_target_that_a_page_names_is_one_of_the_makefile(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text) + re.findall(r"^make ([a-z-]+)$", text, re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= targets


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.stem)
def test_an_issue_form_asks_each_question_once_and_some_must_be_answered(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert content["name"]
    assert content["description"]
    fields = [field for field in content["body"] if field["type"] != "markdown"]
    ids = [field["id"] for field in fields]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in fields)
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_every_path_with_an_owner_exists() -> None:
    lines = (GITHUB / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    paths = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert paths[0] == "*"
    assert [path for path in paths[1:] if not (ROOT / path.strip("/")).exists()] == []


def test_generated_files_are_marked_as_generated() -> None:
    code = [path for path in (ROOT / "imgedit" / "v1").iterdir() if path.name.endswith((".py", ".pyi"))]
    made = [*deploy_build.made(), *docs_build.made(), *(path for path in code if path.name != "__init__.py")]
    paths = [path.relative_to(ROOT).as_posix() for path in made]
    answers = git("check-attr", "linguist-generated", "--", *paths)
    assert [answer for answer in answers if not answer.endswith(": set")] == []
    assert len(answers) == len(paths)


def test_no_line_ends_in_blanks() -> None:
    assert git("grep", "--line-number", "-I", "--extended-regexp", "[ \t]+$") == []
