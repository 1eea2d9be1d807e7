"""`python -m deploy.envoy.build [--check]`: write api.binpb and openapi.json, which Envoy reads, from the protos.

Both are committed, so that neither a cluster nor `imgedit up --gateway` needs a compiler; --check tells whether they
are current.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import google.api
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.envoy.openapi import OpenApi
from imgedit import __version__

FOLDER = Path(__file__).parent
PROTOS = FOLDER.parents[1] / "protos"
SERVICE = "imgedit.v1.EditService"

# Errors with details answer an empty body unless Envoy knows the messages in them.
SOURCES = ("imgedit/v1/edit.proto", "google/rpc/error_details.proto", "google/rpc/status.proto")


def main() -> int:
    """Write the files, or compare them with what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not current")
    is_check = parser.parse_args().check
    stale = []
    for path, content in build().items():
        if is_check and (not path.exists() or path.read_bytes() != content):
            stale.append(path.name)
        elif not is_check:
            path.write_bytes(content)
    if stale:
        print(f"not current, run `make protos`: {', '.join(stale)}", file=sys.stderr)
    return 1 if stale else 0


def build() -> dict[Path, bytes]:
    """What each file must hold."""
    files = compiled()
    document = OpenApi(files, version=__version__).describe(SERVICE)
    for file in files.file:
        file.ClearField("source_code_info")
    return {
        FOLDER / "api.binpb": files.SerializeToString(deterministic=True),
        FOLDER / "openapi.json": (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode(),
    }


def compiled() -> FileDescriptorSet:
    """The protos and all that they import, with the comments."""
    includes = Path(next(iter(google.api.__path__))).parents[1]
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "api.binpb")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{includes}", "--include_imports"]
        options = ["--include_source_info", f"--descriptor_set_out={target}"]
        subprocess.run([*command, *options, *SOURCES], check=True)
        return FileDescriptorSet.FromString(target.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
