"""Parse a PNG file without decoding: chunks, checksums, stream integrity.

Written from the PNG specification (third edition).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from isal import isal_zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples per pixel of each colour type."""

_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_KEPT_ONCE = (b"PLTE", b"tRNS", b"iCCP")
_MAX_FILTER = 4
_PIECE, _BLOCK = 1 << 16, 1 << 20


@dataclass(frozen=True)
class Structure:
    """A sound PNG.

    chunks: kind, start and end, frame included, of a still image's chunks, in order.
    """

    width: int
    height: int
    depth: int
    colour: int
    is_interlaced: bool
    frames: int
    transparency: bytes
    exif: bytes
    chunks: tuple[tuple[bytes, int, int], ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of a row with its filter type, for non-interlaced images."""
        return 1 + (self.width * self.depth * SAMPLES[self.colour] + 7) // 8

    def essence(self, data: bytes) -> bytes:
        """The file reduced to a still image: no text, no further frames, no trailing data."""
        first, last = self.chunks[0][1], self.chunks[-1][2]
        if last - first == sum(end - start for _, start, end in self.chunks):
            return data[: len(SIGNATURE)] + data[first:last] if last < len(data) else data
        return b"".join((SIGNATURE, *(data[start:end] for _, start, end in self.chunks)))

    def is_stream_whole(self, data: bytes) -> bool:
        """Whether the data inflates to all rows with valid filter types.

        For non-interlaced images. Takes constant memory.
        """
        rows, held = 0, b""
        try:
            for block in self._inflated(data):
                held += block
                full = len(held) // self.row_bytes
                filters = held[: full * self.row_bytes : self.row_bytes][: self.height - rows]
                if filters and max(filters) > _MAX_FILTER:
                    return False
                rows, held = rows + full, held[full * self.row_bytes :]
                if rows >= self.height:
                    return True
        except isal_zlib.error:  # type: ignore[misc]  # its stub does not say that it is an exception
            pass
        return False

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        inflate = isal_zlib.decompressobj()
        for kind, start, end in self.chunks:
            for place in range(start + 8, end - 4, _PIECE) if kind == b"IDAT" else ():
                left = data[place : min(place + _PIECE, end - 4)]
                while True:
                    block = inflate.decompress(left, _BLOCK)
                    yield block
                    left = inflate.unconsumed_tail
                    if not left and len(block) < _BLOCK:
                        break


def walk(data: bytes, max_chunks: int) -> tuple[Structure | None, str | None]:
    """The structure, or the fault.

    Checks order, lengths and the checksums of all used chunks.
    """
    chunks: list[tuple[bytes, int, int]] = []
    seen: dict[bytes, bytes] = {}
    place = len(SIGNATURE)
    for _ in range(max_chunks):
        if place + 12 > len(data):
            return None, "it is cut off"
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            return None, "it is cut off"
        if (not chunks and (kind, length) != (b"IHDR", 13)) or (chunks and kind == b"IHDR"):
            return None, "it does not begin with its one header"
        is_wanted = kind in (b"IHDR", b"IDAT", b"IEND") or (kind in _KEPT_ONCE and kind not in seen)
        if is_wanted or kind in (b"acTL", b"eXIf"):
            body = memoryview(data)[place + 8 : end - 4]
            if isal_zlib.crc32(body, isal_zlib.crc32(kind)) != struct.unpack_from(">I", data, end - 4)[0]:
                return None, "a checksum in it is wrong"
            seen.setdefault(kind, b"" if kind == b"IDAT" else bytes(body))
        if is_wanted:
            chunks.append((kind, place, end))
        if kind == b"IEND":
            return _structure(seen, chunks)
        place = end
    return None, f"it has over {max_chunks} parts"


def _structure(seen: dict[bytes, bytes], chunks: list[tuple[bytes, int, int]]) -> tuple[Structure | None, str | None]:
    width, height, depth, colour, compression, filtering, interlace = struct.unpack(">IIBBBBB", seen[b"IHDR"])
    if depth not in _DEPTHS.get(colour, ()) or compression or filtering or interlace > 1:
        return None, "its header is not valid"
    if b"IDAT" not in seen:
        return None, "it has no image data"
    if colour == 3 and not 3 <= len(seen.get(b"PLTE", b"")) <= 768:
        return None, "it has no palette"
    frames = struct.unpack_from(">I", seen[b"acTL"])[0] if len(seen.get(b"acTL", b"")) == 8 else 1
    transparency = seen.get(b"tRNS", b"")
    exif = seen.get(b"eXIf", b"")
    return Structure(width, height, depth, colour, interlace == 1, frames, transparency, exif, tuple(chunks)), None
