"""The header of a safetensors file, read with a bound on everything.

Whether the file is whole, and what is in it.

Nothing is believed before it is checked; no tensor data is read. Layout: 8 bytes, little-endian, the length of a JSON
object {name: {"dtype", "shape", "data_offsets": [begin, end]}}, then the data, without gaps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imgedit.errors import ModelLoadError
from imgedit.weights.lfs import refuse_pointer

MAX_HEADER_BYTES = 16 * 1024 * 1024
MAX_TENSORS = 20_000
MAX_DIMENSIONS = 8

SIZES = {
    1: ("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2"),
    2: ("U16", "I16", "F16", "BF16"),
    4: ("U32", "I32", "F32"),
    8: ("U64", "I64", "F64"),
}
DTYPE_BYTES = {dtype: size for size, dtypes in SIZES.items() for dtype in dtypes}


@dataclass(frozen=True)
class Entry:
    """One tensor: its number format by safetensors' name, its shape, and its bytes."""

    dtype: str
    shape: tuple[int, ...]
    nbytes: int


def read_header(path: Path) -> dict[str, Entry]:
    """The tensors of a safetensors file by name.

    Raises `ModelLoadError` for a file that is cut short, that is none, or that a checkout without Git LFS left.
    """
    try:
        refuse_pointer(path)
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise _refused(path, f"a header of {length} bytes in a file of {size}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise ModelLoadError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise _refused(path, "its header is not JSON") from error
    return _entries(path, header, size - 8 - length)


def _entries(path: Path, header: Any, data_bytes: int) -> dict[str, Entry]:
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise _refused(path, f"its header is not an object of at most {MAX_TENSORS} tensors")
    spans = []
    found = {}
    for name, described in header.items():
        if name == "__metadata__":
            continue
        found[name], span = _entry(path, name, described)
        spans.append(span)
    end = 0
    for begin, stop in sorted(spans):
        if begin != end:
            raise _refused(path, f"its tensors leave a gap or overlap at byte {begin}")
        end = stop
    if end != data_bytes:
        raise _refused(path, f"{end} bytes of tensors are listed, {data_bytes} are there: is it cut short?")
    return found


def _entry(path: Path, name: str, described: Any) -> tuple[Entry, tuple[int, int]]:
    if not isinstance(described, Mapping):
        raise _refused(path, f"{name[:80]!r} is not described")
    dtype, shape, span = described.get("dtype"), _sizes(described.get("shape")), _sizes(described.get("data_offsets"))
    if not isinstance(dtype, str) or dtype not in DTYPE_BYTES or shape is None or span is None or len(span) != 2:
        raise _refused(path, f"{name[:80]!r} has no usable type, shape or place")
    nbytes = math.prod(shape) * DTYPE_BYTES[dtype]
    if span[1] - span[0] != nbytes:
        raise _refused(path, f"{name[:80]!r} takes {nbytes} bytes and has {span[1] - span[0]}")
    return Entry(dtype, shape, nbytes), (span[0], span[1])


def _sizes(values: Any) -> tuple[int, ...] | None:
    """A list of a few sizes; None for anything else."""
    if not isinstance(values, list) or len(values) > MAX_DIMENSIONS:
        return None
    return tuple(values) if all(type(value) is int and 0 <= value < 1 << 48 for value in values) else None


def _refused(path: Path, fault: str) -> ModelLoadError:
    return ModelLoadError(f"{path}: not a usable safetensors file: {fault}")
