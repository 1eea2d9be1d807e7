"""What is installed here.

The client alone, as in the wheel, or with the servers beside it (a checkout, an image).
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

NO_SERVERS = (
    "this command runs the project's servers, and only the client is installed here; run it from a checkout "
    "(git clone, then make install) or in a container image of the project"
)


def has_servers() -> bool:
    """Whether our own package `services` lies beside this one. Imports nothing."""
    try:
        return MARK in (ROOT / "services" / "__init__.py").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return False


def environment() -> dict[str, str]:
    """This process's environment, in which `python -m services.…` runs our servers from any working directory.

    PYTHONSAFEPATH keeps the working directory off the import path: it may hold another `services`.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONSAFEPATH": "1"}


def to_install(extra: str) -> str:
    """How to install an extra of this project; as advice behind a semicolon.

    No package index has the project.
    """
    return f"in a checkout: pip install -e '.[{extra}]'"
