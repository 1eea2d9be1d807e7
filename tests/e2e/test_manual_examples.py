"""The examples of README and manual run unchanged against a real stack."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.manual import ROOT, Block, blocks, name_of, pages

from .conftest import RunningStack

PICTURE = re.compile(r"(?<![.\w])\w+\.(?:png|webp)")
DEFAULT_TARGET = "127.0.0.1:50051"
SHELLS = {"python": [sys.executable, "-W", "error", "-c"], "shell": ["bash", "-euo", "pipefail", "-c"]}

# A Korean page has the blocks of the English one; tests/unit/project/test_manual.py compares them.
RUNNABLE = [
    pytest.param(block, id=f"{name_of(page)}:{block.line}")
    for page in pages()
    if not page.name.endswith(".ko.md")
    for block in blocks(page)
    if block.kind == "run"
]


def at(code: str, stack: RunningStack) -> str:
    """The same code, for a stack on other ports than the default ones."""
    code = code.replace(DEFAULT_TARGET, stack.target).replace("127.0.0.1:8080", f"127.0.0.1:{stack.ports.gateway}")
    return code.replace("imgedit doctor", f"imgedit doctor --base-port {stack.ports.base}")


@pytest.mark.parametrize("block", RUNNABLE)
def test_an_example_runs_and_writes_the_pictures_that_it_names(
    block: Block, stack: RunningStack, tmp_path: Path
) -> None:
    shutil.copy(stack.photo, tmp_path / "photo.jpg")
    (tmp_path / "models").symlink_to(stack.models.resolve())
    environment = {
        **os.environ,
        "IMGEDIT_TARGET": stack.target,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [*SHELLS[block.word], at(block.code, stack)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    missing = {name for name in PICTURE.findall(block.code) if not (tmp_path / name).is_file()}
    assert not missing, done.stdout


def test_the_readme_shows_how_to_call_from_python_asyncio_the_cli_rest_and_grpcurl() -> None:
    shown = "\n".join(block.code for block in blocks(ROOT / "README.md") if block.kind == "run")
    for call in ("SyncEditClient(", "await asyncio.gather(", "imgedit edit ", "curl ", "grpcurl "):
        assert call in shown
