"""Hostile and odd files.

Each refused for its reason or accepted at its size, in the time and memory it may take.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import CASES

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.timeout(1000)  # most of it goes into making the files
MB = 1_000_000

HEADER_SECONDS, HEADER_BYTES = 0.2, 64 * MB
DECODING_SECONDS, DECODING_BYTES = 2.0, 64 * MB
"""And 4 bytes for every pixel."""


def judged(*arguments: str) -> dict[str, dict[str, Any]]:
    """The results for the files in a subprocess.

    Freed memory is returned, so growth is real.
    """
    environment = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-W", "error", "-m", "tests.judge", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return {found["name"]: found for found in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return judged()


def test_there_are_many() -> None:
    assert len(CASES) >= 60


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_file_meets_its_fate_within_its_limits(found: dict[str, dict[str, Any]], name: str) -> None:
    case, fate = CASES[name], found[name]
    if case.size is not None:
        assert fate.get("size") == list(case.size), fate
        return
    assert re.search(case.says, fate.get("refused", "")), fate
    assert fate["refused"].startswith("input_image: ")
    if case.by == "header":
        assert fate["seconds"] < HEADER_SECONDS
        assert fate["bytes"] < HEADER_BYTES
    else:
        assert fate["seconds"] < DECODING_SECONDS
        assert fate["bytes"] < DECODING_BYTES + 4 * case.pixels


@pytest.mark.slow
def test_the_measurement_sees_a_bomb_go_off() -> None:
    """The control: without limits, the same file takes ten times a rejection's memory."""
    name = "PNG of 620 KB that becomes 634 MB"
    assert len(CASES[name].make()) < 700_000
    assert judged("naively", name)[name]["bytes"] > 600 * MB
