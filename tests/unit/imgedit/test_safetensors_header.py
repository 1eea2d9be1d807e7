"""A safetensors header is read with limits, and an invalid one is rejected."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from imgedit.errors import ModelLoadError
from imgedit.weights.safetensors_header import MAX_HEADER_BYTES, Entry, read_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    tensors = {"a.weight": torch.zeros(3, 5), "b": torch.zeros(7, dtype=torch.bfloat16), "c": torch.zeros(())}
    save_file(tensors, path, metadata={"format": "pt"})
    return path


def written(path: Path, header: Any, data: bytes = b"", *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_names_formats_shapes_and_sizes_are_those_of_the_file(file: Path) -> None:
    assert read_header(file) == {
        "a.weight": Entry("F32", (3, 5), 60),
        "b": Entry("BF16", (7,), 14),
        "c": Entry("F32", (), 4),
    }


def test_a_file_cut_anywhere_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ModelLoadError):
            read_header(tmp_path / "cut")


def tensor(**changed: Any) -> dict[str, Any]:
    return {"t": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changed}}


@pytest.mark.parametrize(
    "header",
    [
        tensor(dtype="F31"),
        tensor(dtype=["F32"]),
        tensor(shape=[-2]),
        tensor(shape=[True, 2]),
        tensor(shape=[2.0]),
        tensor(shape=[1] * 9),
        tensor(shape=[1 << 60]),
        tensor(shape="2"),
        tensor(data_offsets=[0]),
        tensor(data_offsets=[8, 0]),
        tensor(data_offsets=[4, 12]),
        tensor(data_offsets=[0, 8, 16]),
        {**tensor(), "u": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}},
        {"t": None},
        [],
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_hostile_header_is_refused_in_under_a_second(header: Any, tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ModelLoadError, match="not a usable safetensors file"):
        read_header(written(tmp_path / "hostile", header, bytes(8)))
    assert time.monotonic() - started < 1


def test_a_header_that_says_it_is_huge_is_not_read(tmp_path: Path) -> None:
    path = written(tmp_path / "huge", b"{}", length=MAX_HEADER_BYTES + 1)
    with path.open("r+b") as file:
        file.truncate(MAX_HEADER_BYTES * 4)  # sparse
    with pytest.raises(ModelLoadError, match="a header of"):
        read_header(path)


def test_a_random_change_never_does_more_than_refuse(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    chance = random.Random(1)
    for _ in range(500):
        changed = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        (tmp_path / "changed").write_bytes(changed)
        try:
            read_header(tmp_path / "changed")
        except ModelLoadError:
            continue


def test_what_cannot_be_read_and_what_git_left_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="cannot be read"):
        read_header(tmp_path / "none")
    (tmp_path / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\n")
    with pytest.raises(ModelLoadError, match="git lfs pull"):
        read_header(tmp_path / "pointer")
