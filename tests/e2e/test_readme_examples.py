"""The examples of the README run as they stand there, against a real stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

BLOCK = re.compile(
    r"(?:<!-- run: (?P<run>\w+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE
)
PICTURE = re.compile(r"\w+\.png")

DEFAULT_TARGET = "127.0.0.1:50051"


@dataclass(frozen=True)
class Example:
    """A fenced block. `run`: the word of the comment before it, empty for one that is only shown."""

    run: str
    language: str
    code: str


def examples(path: Path) -> list[Example]:
    text = path.read_text(encoding="utf-8")
    return [Example(match["run"] or "", match["language"], match["code"]) for match in BLOCK.finditer(text)]


RUNNABLE = [example for example in examples(ROOT / "README.md") if example.run]


def at(code: str, stack: Any) -> str:
    """The same code, for a stack on other ports than the default ones."""
    code = code.replace(DEFAULT_TARGET, stack.target).replace("127.0.0.1:8080", f"127.0.0.1:{stack.ports.gateway}")
    return code.replace("imgedit health", f"imgedit health --base-port {stack.ports.base}")


@pytest.mark.parametrize("example", RUNNABLE, ids=[f"{n}-{example.run}" for n, example in enumerate(RUNNABLE, start=1)])
def test_an_example_runs_and_writes_the_pictures_that_it_names(example: Example, stack: Any, tmp_path: Path) -> None:
    shutil.copy(stack.photo, tmp_path / "photo.jpg")
    shells = {"python": [sys.executable, "-W", "error", "-c"], "shell": ["bash", "-euo", "pipefail", "-c"]}
    environment = {
        **os.environ,
        "IMGEDIT_TARGET": stack.target,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*shells[example.run], at(example.code, stack)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    missing = {name for name in PICTURE.findall(example.code) if not (tmp_path / name).is_file()}
    assert not missing, done.stdout


def test_the_readme_shows_how_to_call_from_python_asyncio_the_cli_rest_and_grpcurl() -> None:
    shown = "\n".join(example.code for example in RUNNABLE)
    for call in ("SyncEditClient(", "await asyncio.gather(", "imgedit edit ", "curl ", "grpcurl "):
        assert call in shown


def test_the_korean_readme_has_the_same_examples() -> None:
    assert examples(ROOT / "README.ko.md") == examples(ROOT / "README.md")
