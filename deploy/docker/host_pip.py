"""This machine's configuration of pip: indexes, certificates, folders of wheels."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

KEYS = (
    "cert", "constraint", "default-timeout", "extra-index-url", "find-links", "index-url", "proxy", "timeout",
    "trusted-host",
)  # fmt: skip
"""The keys that decide where packages come from."""


def configuration() -> dict[str, str]:
    """Values by key; the environment wins over files, as in pip."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return read(done.stdout if done.returncode == 0 else "")


def read(listing: str) -> dict[str, str]:
    """The values in the answer of `pip config list`."""
    found: dict[str, str] = {}
    lines = [line for line in listing.splitlines() if "=" in line]
    for line in sorted(lines, key=lambda line: line.startswith(":env:")):
        name, _, value = line.partition("=")
        key = name.rsplit(".", 1)[-1]
        if key in KEYS:
            found[key] = str(ast.literal_eval(value))
    return found


def mounts(values: dict[str, str]) -> list[Path]:
    """The folders and files of this machine that the values name."""
    found = set()
    for key, value in values.items():
        for word in value.split():
            path = Path(word.removeprefix("file://"))
            if path.is_absolute() and path.exists():
                # The pages of an index link to files beside its folder.
                found.add(path.parent if key.endswith("index-url") else path)
    return sorted(found)


def pip_conf(values: dict[str, str]) -> str:
    """The values as a file that pip reads."""
    return "\n".join(["[global]", *(f"{key} = {_in_file(value)}" for key, value in values.items()), ""])


def _in_file(value: str) -> str:
    """One line per word."""
    return "\n    ".join(value.split())
