"""A GGUF header's counts are checked before they are used."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imgedit.errors import ModelLoadError
from imgedit.weights import gguf_header


def header(arrays: int, strings: int) -> bytes:
    """No tensors, and so many metadata arrays of so many empty strings."""
    key = struct.pack("<Q", 1) + b"k"
    array = key + struct.pack("<IIQ", gguf_header.ARRAY, gguf_header.STRING, strings) + bytes(8 * strings)
    return gguf_header.MAGIC + struct.pack("<IQQ", 3, 0, arrays) + array * arrays


def test_two_million_strings_are_refused_by_their_number(tmp_path: Path) -> None:
    path = tmp_path / "strings.gguf"
    path.write_bytes(header(20, 100_000))
    with pytest.raises(ModelLoadError, match="100000 strings in arrays; at most 0 are accepted"):
        gguf_header.read_header(path)


def test_the_strings_of_a_vocabulary_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "vocabulary.gguf"
    path.write_bytes(header(2, 100_000))
    assert gguf_header.read_header(path) == {}
