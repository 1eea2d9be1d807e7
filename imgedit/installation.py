"""The installed parts: only the client (the wheel), or the servers too.

A checkout or an image has both.
"""

from __future__ import annotations

import os
from pathlib import Path

DISTRIBUTION = "imgedit-serving"
"""The project's name for pip. On PyPI, `imgedit` is another project."""

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds this package: a checkout, an image's working directory, or site-packages."""

MARK = f'PROJECT = "{DISTRIBUTION}"'
"""A line of our `services/__init__.py`. In site-packages, a folder of that name is another project's."""


def has_servers() -> bool:
    """Whether our own package `services` is beside this one, without importing it."""
    try:
        return MARK in (ROOT / "services" / "__init__.py").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False


def environment() -> dict[str, str]:
    """This environment, prepared for `python -m services.…` in any working directory.

    PYTHONSAFEPATH keeps the working directory off the import path: it may hold another `services`.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def to_install(extra: str) -> str:
    """The advice on how to install an extra of this project in a checkout.

    No package index has the project.
    """
    return f"in a checkout: pip install -e '.[{extra}]'"
