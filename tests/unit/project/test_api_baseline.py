"""The checks of the API pass today's and reject a planted break by name."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import google.api
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from tools import rest_baseline

PROTOS = Path(__file__).parents[3] / "protos"
BUF = Path(sys.executable).with_name("buf")
EDIT, STEPS = "imgedit/v1/edit.proto", "imgedit/inference/v1/steps.proto"


def compiled(folder: Path, file: str = "", was: str = "", becomes: str = "") -> Path:
    """The protos, with one text replaced, as a descriptor set."""
    protos = folder / "protos"
    shutil.copytree(PROTOS, protos)
    if file:
        text = (protos / file).read_text("utf-8")
        assert text.count(was) == 1, was
        (protos / file).write_text(text.replace(was, becomes), "utf-8")
    api, includes = folder / "api.binpb", Path(next(iter(google.api.__path__))).parents[1]
    sources = sorted(str(path) for path in protos.rglob("*.proto"))
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{protos}", f"-I{includes}", "--include_imports"]
    subprocess.run([*command, f"--descriptor_set_out={api}", *sources], check=True, timeout=60)
    return api


def breaks(folder: Path, file: str = "", was: str = "", becomes: str = "") -> str:
    """buf's message about the protos with one text replaced; "" if it passes."""
    api = compiled(folder, file, was, becomes)
    options = ["--against", str(PROTOS / "baseline.binpb"), "--config", str(PROTOS / "buf.yaml")]
    done = subprocess.run([BUF, "breaking", api, *options], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode == 0) == (not done.stdout), done.stderr
    return done.stdout


def test_the_api_of_today_breaks_no_client_of_the_baseline(tmp_path: Path) -> None:
    assert breaks(tmp_path) == ""


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ('  optional MaskOptions mask_options = 12 [json_name = "mask_options"];\n', "", '"mask_options"'),
        ("  optional int32 steps = 6;\n", "  optional string steps = 6;\n", '"steps"'),
        ('output_image = 4 [json_name = "output_image_base64"]', "output_image = 4", '"output_image"'),
        ("  rpc EditBatch(stream EditRequest) returns (stream EditEvent);\n", "", '"EditBatch"'),
        ("  EDIT_STATE_FAILED = 4;\n", "", '"EditState"'),
    ],
    ids=["field deleted", "type changed", "JSON name changed", "method deleted", "enum value deleted"],
)
def test_a_planted_break_is_refused_by_name(tmp_path: Path, was: str, becomes: str, named: str) -> None:
    assert named in breaks(tmp_path, EDIT, was, becomes)


@pytest.mark.parametrize(
    ("file", "was", "becomes"),
    [
        (EDIT, "  optional int32 steps = 6;\n", "  optional int32 steps = 6;\n  string added = 999;\n"),
        (STEPS, "  int32 steps = 2;\n", ""),
    ],
    ids=["a field added", "a field of the model services deleted"],
)
def test_what_breaks_no_client_passes(tmp_path: Path, file: str, was: str, becomes: str) -> None:
    assert breaks(tmp_path, file, was, becomes) == ""


@pytest.mark.parametrize(
    ("was", "becomes", "named"),
    [
        ('get: "/v1/edits/{request_id}"', 'get: "/v1/edit/{request_id}"', ["GET /v1/edits/{request_id}"]),
        ('"/api/edit_with_comfyui"', '"/api/edit"', ["POST /api/edit_with_comfyui"]),
        ('get: "/v1/edits/{request_id}"', 'get: "/v1/edits/{request_id}", additional_bindings {get: "/new"}', []),
    ],
    ids=["path changed", "the guide's path changed", "path added"],
)
def test_a_rest_path_that_clients_would_miss_is_refused(
    tmp_path: Path, was: str, becomes: str, named: list[str]
) -> None:
    api = compiled(tmp_path, EDIT, was, becomes).read_bytes()
    lines = rest_baseline.missing(api, (PROTOS / "baseline.binpb").read_bytes())
    assert [line.partition(" no longer ")[0] for line in lines] == named


def test_the_baseline_is_the_public_package_and_what_it_imports() -> None:
    baseline = FileDescriptorSet.FromString((PROTOS / "baseline.binpb").read_bytes())
    ours = {file.package for file in baseline.file} - {"google.api", "google.protobuf", "google.rpc"}
    assert ours == {"imgedit.v1"}
