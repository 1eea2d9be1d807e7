"""`python -m tools.wheel`: build the wheel of the last commit into build/wheel.

It uses a copy of the commit, because setuptools packs leftovers of earlier builds from build/lib.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
FOLDER = Path("build", "wheel")
SOURCES = ("imgedit", "pyproject.toml", "LICENSE")
PIP = ("-m", "pip", "wheel", "--disable-pip-version-check", "--quiet", "--no-deps", "--no-build-isolation")


class BuildError(Exception):
    """The wheel could not be built.

    The message is the last line of the failed program.
    """


def main() -> None:
    """Build it and print its path."""
    try:
        print(build(ROOT))
    except BuildError as error:
        sys.exit(f"wheel: {error}")


def build(root: Path) -> Path:
    """Build the wheel of the last commit of the checkout at `root`; return its path.

    Raises `BuildError`.
    """
    folder = root / FOLDER
    for earlier in folder.glob("*.whl"):
        earlier.unlink()
    with TemporaryDirectory() as copy:
        archive = _run("git", "archive", "--format=tar", "HEAD", "--", *SOURCES, cwd=root)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(copy, filter="data")
        _run(sys.executable, *PIP, "--wheel-dir", str(folder.resolve()), copy, cwd=Path(copy))
    [wheel] = folder.glob("*.whl")
    return wheel


def _run(*command: str, cwd: Path) -> bytes:
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BuildError(lines[-1] if lines else f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    main()
