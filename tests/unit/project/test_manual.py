"""The manual is whole: blocks run or explain why not, links work, languages match."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from docs_tools import build, sweep
from imgedit.errors import by_reason
from services.orchestrator.catalogue import models
from tests.manual import PLAIN_LANGUAGES, ROOT, Block, anchors, blocks, links, name_of, pages

PAGES = pages()
KOREAN = [page for page in PAGES if page.name.endswith(".ko.md")]
RUNNERS = {("run", "shell"): ("shell",), ("run", "python"): ("python",), ("check", "json"): ("json",)}
RUNNERS |= {("check", "catalogue"): ("yaml",), ("check", "toml"): ("toml",)}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_is_run_or_checked_or_says_why_not(page: Path) -> None:
    unsaid = [
        f"{name_of(page)}:{block.line}: {block.language or 'no language'}"
        for block in blocks(page)
        if block.language not in PLAIN_LANGUAGES
        and block.kind not in ("not run", "new file", "change")
        and block.language not in RUNNERS.get((block.kind, block.word), ())
    ]
    assert not unsaid


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_or_a_heading(page: Path) -> None:
    dead = []
    for link in links(page):
        target, _, anchor = link.partition("#")
        if ":" in target:
            assert target.startswith(("https://", "http://127.0.0.1")), link
            continue
        path = (page.parent / target).resolve() if target else page
        if not path.exists() or (anchor and path.suffix == ".md" and anchor not in anchors(path)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("page", KOREAN, ids=name_of)
def test_a_korean_page_has_the_blocks_and_headings_of_the_english_one(page: Path) -> None:
    english = page.with_name(page.name.replace(".ko.md", ".md"))

    def without_lines(path: Path) -> list[tuple[str, str, str, str]]:
        return [(block.language, block.code, block.kind, block.word) for block in blocks(path)]

    def levels(path: Path) -> list[str]:
        return [line.split(" ")[0] for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]

    assert without_lines(page) == without_lines(english)
    assert levels(page) == levels(english)


def checked(word: str) -> list[tuple[str, Block]]:
    found = [(page, block) for page in PAGES if page not in KOREAN for block in blocks(page)]
    return [(f"{name_of(page)}:{block.line}", block) for page, block in found if block.word == word]


@pytest.mark.parametrize("block", [pytest.param(block, id=name) for name, block in checked("catalogue")])
def test_a_catalogue_in_the_manual_is_one_that_a_server_takes(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "experiments.yaml"
    file.write_text(block.code, encoding="utf-8")
    assert models.load(file).experiments


@pytest.mark.parametrize("word", ["json", "toml"])
def test_json_and_toml_in_the_manual_can_be_read(word: str) -> None:
    found = checked(word)
    assert found
    for _, block in found:
        assert {"json": json.loads, "toml": tomllib.loads}[word](block.code)


def test_the_reference_is_current() -> None:
    stale = [path.name for path, text in build.made().items() if path.read_text(encoding="utf-8") != text]
    assert not stale, "run `make protos`"


def test_the_reference_has_every_error_reason_setting_command_and_message() -> None:
    text = {path.name: content for path, content in build.made().items()}
    assert all(f"`{reason}`" in text["errors.md"] for reason in by_reason())
    assert all(f"## imgedit {name}\n" in text["cli.md"] for name in ("edit", "doctor", "models convert", "up"))
    assert all(f"### {name}\n" in text["grpc.md"] for name in ("EditRequest", "Profile", "ErrorReason"))
    assert all(f"### {name}\n" in text["inference.md"] for name in ("Image", "FillResult", "Progress"))
    paths = (
        "POST /api/edit_with_comfyui",
        "GET /api/image_editing/experiments",
        "POST /v1/edits",
        "GET /v1/experiments",
    )
    assert all(f"`{path}`" in text["rest.md"] for path in (*paths, "GET /v1/edits/{request_id}"))
    assert "IMGEDIT_QWEN_EDIT_TEXT_ENCODER_WEIGHTS" in text["settings.md"]


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    for name in (
        "index.html",
        "guide.html",
        "guide.ko.html",
        "reference/errors.html",
        "adr/0014-envoy-at-the-edge-and-beside-the-orchestrator.html",
    ):
        assert (site / name).stat().st_size > 5000
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    assert any("영역 채우기" in document["text"] for document in index["docs"])


def test_the_list_of_decisions_names_every_page_with_its_title_and_explains_every_gap() -> None:
    folder = ROOT / "docs" / "adr"
    titles = {path.name: path.read_text(encoding="utf-8").splitlines()[0] for path in folder.glob("[0-9]*.md")}
    index = (folder / "index.md").read_text(encoding="utf-8")
    for name, title in titles.items():
        number, _, words = title.removeprefix("# ").partition(". ")
        assert int(name[:4]) == int(number)
        assert f"| {number} | [{words}]({name}) |" in index
    used = {int(name[:4]) for name in titles}
    assert set(range(1, max(used))) - used == {19, 20}
    assert "19 and 20 were never used" in index


@pytest.mark.parametrize("strip", sweep.STRIPS, ids=lambda strip: strip.name)
def test_the_guide_shows_every_strip_in_both_languages(strip: sweep.Strip) -> None:
    for page in ("parameters.md", "parameters.ko.md"):
        assert f"images/parameters/{strip.name}.webp" in (ROOT / "docs" / page).read_text(encoding="utf-8")
