"""Read a GGUF file's header with limits, so that a hostile file is rejected early.

Nothing in the file is believed before it is checked: counts, lengths, types, shapes, offsets, the file's own size. No
tensor data is read. Layout, versions 2 and 3, little-endian: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
Knows no architecture.
"""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from imgedit.errors import ModelLoadError
from imgedit.weights.lfs import refuse_pointer

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_TENSORS = 10_000
MAX_METADATA = 1_000
MAX_ARRAY = 1_000_000
MAX_STRINGS = 200_000
"""In all arrays of the metadata: each is read by itself."""
MAX_NAME_BYTES = 256
MAX_DIMENSIONS = 4
MAX_SIDE = 1 << 32
DEFAULT_ALIGNMENT = 32

TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}
"""Tensor types that can be dequantised here: number → (name, elements per block, bytes per block)."""

SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Metadata value types of fixed size: number → bytes. 8 is a string, 9 an array."""

UINT32, STRING, ARRAY = 4, 8, 9


@dataclass(frozen=True)
class TensorEntry:
    """The position of one tensor in the file.

    shape: outermost dimension first. offset: in bytes from the file's start.
    """

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int
    nbytes: int


class _Reader:
    """Reads little-endian values within the header's limit and the file's end."""

    def __init__(self, file: BinaryIO, path: Path, size: int) -> None:
        self._file = file
        self._path = path
        self._limit = min(size, MAX_HEADER_BYTES)
        self.position = 0
        self.strings_left = MAX_STRINGS

    def refuse(self, fault: str) -> ModelLoadError:
        return ModelLoadError(f"{self._path}: not a usable GGUF file: {fault}")

    def take(self, count: int) -> bytes:
        self._advance(count)
        return self._file.read(count)

    def skip(self, count: int) -> None:
        self._advance(count)
        self._file.seek(count, os.SEEK_CUR)

    def _advance(self, count: int) -> None:
        if self.position + count > self._limit:
            raise self.refuse(f"the header goes past byte {self._limit}")
        self.position += count

    def uint32(self) -> int:
        return int(struct.unpack("<I", self.take(4))[0])

    def uint64(self) -> int:
        return int(struct.unpack("<Q", self.take(8))[0])

    def count(self, what: str, most: int) -> int:
        number = self.uint64()
        if number > most:
            raise self.refuse(f"{number} {what}; at most {most} are accepted")
        return number

    def text(self, what: str, most: int) -> str:
        raw = self.take(self.count(f"bytes in {what}", most))
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            raise self.refuse(f"{what} is not UTF-8") from error


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of a GGUF file by name.

    Raises `ModelLoadError` for an invalid file; takes well under 1 s.
    """
    try:
        refuse_pointer(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            return _parse(_Reader(file, path, size), size)
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read ({error.strerror})") from error


def _parse(reader: _Reader, size: int) -> dict[str, TensorEntry]:
    if reader.take(4) != MAGIC:
        raise reader.refuse("it does not begin with GGUF")
    version = reader.uint32()
    if version not in VERSIONS:
        raise reader.refuse(f"version {version}; {VERSIONS} are known")
    tensors = reader.count("tensors", MAX_TENSORS)
    alignment = _read_metadata(reader, reader.count("metadata entries", MAX_METADATA))
    raw = [_read_entry(reader) for _ in range(tensors)]
    start = math.ceil(reader.position / alignment) * alignment
    entries = [TensorEntry(e.name, e.shape, e.type, start + e.offset, e.nbytes) for e in raw]
    _check_places(reader, entries, alignment, start, size)
    return {entry.name: entry for entry in entries}


def _read_metadata(reader: _Reader, count: int) -> int:
    """Skip the metadata; only the alignment of the tensor data is used."""
    alignment = DEFAULT_ALIGNMENT
    for _ in range(count):
        key = reader.text("a metadata key", 65_535)
        kind = reader.uint32()
        if key == "general.alignment" and kind == UINT32:
            alignment = reader.uint32()
        else:
            _skip_value(reader, kind)
    if alignment < 8 or alignment > 65_536 or alignment & (alignment - 1):
        raise reader.refuse(f"alignment {alignment}")
    return alignment


def _skip_value(reader: _Reader, kind: int) -> None:
    if kind == STRING:
        reader.skip(reader.count("bytes in a metadata string", MAX_HEADER_BYTES))
    elif kind == ARRAY:
        _skip_array(reader)
    elif kind in SCALAR_BYTES:
        reader.skip(SCALAR_BYTES[kind])
    else:
        raise reader.refuse(f"metadata of unknown type {kind}")


def _skip_array(reader: _Reader) -> None:
    """An array of scalars or strings; nested arrays are rejected."""
    kind = reader.uint32()
    if kind == STRING:
        count = reader.count("strings in arrays", reader.strings_left)
        reader.strings_left -= count
        for _ in range(count):
            reader.skip(reader.count("bytes in a metadata string", MAX_HEADER_BYTES))
    elif kind in SCALAR_BYTES:
        reader.skip(SCALAR_BYTES[kind] * reader.count("values in an array", MAX_ARRAY))
    else:
        raise reader.refuse(f"array of unknown type {kind}")


def _read_entry(reader: _Reader) -> TensorEntry:
    """One tensor's name, shape, type and offset (still relative to the data's start)."""
    name = reader.text("a tensor's name", MAX_NAME_BYTES)
    dimensions = reader.uint32()
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise reader.refuse(f"{name!r} has {dimensions} dimensions")
    sides = [reader.uint64() for _ in range(dimensions)]
    if any(side > MAX_SIDE for side in sides):
        raise reader.refuse(f"{name!r} has the shape {sides}")
    kind, offset = reader.uint32(), reader.uint64()
    if kind not in TYPES:
        raise reader.refuse(
            f"{name!r} has the type {kind}; known are {', '.join(known for known, *_ in TYPES.values())}"
        )
    _, block, block_bytes = TYPES[kind]
    if sides[0] % block:
        raise reader.refuse(f"{name!r} has rows of {sides[0]}, not a multiple of {block}")
    return TensorEntry(name, tuple(reversed(sides)), kind, offset, math.prod(sides) // block * block_bytes)


def _check_places(reader: _Reader, entries: list[TensorEntry], alignment: int, start: int, size: int) -> None:
    """Check that every tensor is in the file, aligned, unique and without overlap."""
    end = start
    for entry in sorted(entries, key=lambda entry: entry.offset):
        if (entry.offset - start) % alignment or entry.offset < end:
            raise reader.refuse(f"{entry.name!r} lies at {entry.offset}, over another tensor or off the alignment")
        end = entry.offset + entry.nbytes
        if end > size:
            raise reader.refuse(f"{entry.name!r} ends at byte {end}, the file has {size}: it is cut short")
    if len({entry.name for entry in entries}) != len(entries):
        raise reader.refuse("two tensors have one name")
