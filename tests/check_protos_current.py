"""`make lint` runs this.

Exit 1 when imgedit/v1 is not what the compiler makes of protos/ now.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import google.api

ROOT = Path(__file__).parents[1]


def main() -> int:
    """Generate into a scratch folder and compare."""
    includes = Path(next(iter(google.api.__path__))).parents[1]
    sources = sorted(str(path) for path in (ROOT / "protos/imgedit/v1").glob("*.proto"))
    outputs = ("--python_out", "--pyi_out", "--grpc_python_out")
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'protos'}", f"-I{includes}"]
        command += [f"{output}={scratch}" for output in outputs] + [f"--mypy_grpc_out=quiet:{scratch}"]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        subprocess.run([*command, *sources], check=True, env={**os.environ, "PATH": path})
        made = {path.name: path.read_bytes() for path in Path(scratch, "imgedit/v1").iterdir()}
    committed = {
        path.name: path.read_bytes()
        for path in (ROOT / "imgedit/v1").iterdir()
        if path.suffix in (".py", ".pyi") and path.name != "__init__.py"
    }
    stale = sorted(name for name in made.keys() | committed.keys() if made.get(name) != committed.get(name))
    if stale:
        print(f"imgedit/v1 is not current, run `make protos`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
