"""Exit with 1 if the committed message code is stale; run by `make lint`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import google.api

ROOT = Path(__file__).parents[1]
PACKAGES = ("imgedit/v1", "imgedit/inference/v1")


def main() -> int:
    """Generate into a scratch folder and compare."""
    includes = Path(next(iter(google.api.__path__))).parents[1]
    sources = sorted(str(path) for package in PACKAGES for path in (ROOT / "protos" / package).glob("*.proto"))
    outputs = ("--python_out", "--pyi_out", "--grpc_python_out")
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"-I{includes}"]
        command += [f"{output}={scratch}" for output in outputs] + [f"--mypy_grpc_out=quiet:{scratch}"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run([*command, *sources], check=True, env={**os.environ, "PATH": path})
        made = {path: content for package in PACKAGES for path, content in generated(Path(scratch), package)}
    committed = {path: content for package in PACKAGES for path, content in generated(ROOT, package)}
    stale = sorted(name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name))
    if stale:
        print(f"not current, run `make protos`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


def generated(root: Path, package: str) -> Iterator[tuple[str, bytes]]:
    """The generated files of a package below `root`, by their path from it."""
    for path in (root / package).iterdir():
        if path.suffix in (".py", ".pyi") and path.name != "__init__.py":
            yield f"{package}/{path.name}", path.read_bytes()


if __name__ == "__main__":
    sys.exit(main())
