"""Read an image file's format, size, frames and integrity without a decoder.

Walks the container only, in time bounded by the number of its parts, and allocates next to nothing. Judges nothing
but what no decoder should be shown; `imgedit.imaging.images` does. Nothing here trusts a length that the file gives.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from imgedit.imaging import png

Format = Literal["PNG", "JPEG", "WEBP"]

MAX_PARTS = 20_000
"""Chunks or segments of a file. A PNG of 32 MiB in the usual 8 KiB chunks has 4,096."""

_EXIF_ORIENTATION = 0x0112
_EXIF_MARKER, _PROFILE_MARKER = 0xE1, 0xE2
_START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
_SCAN, _END = 0xDA, 0xD9
_APPLICATION = {*range(0xE0, 0xF0), 0xFE}
_BARE = {0x00, 0x01, *range(0xD0, 0xD8)}
"""Markers without a length: a decoder passes over them, so nothing may hide behind what looks like one."""
_ENDS = {0xD8, 0xD9}
"""Before the first scan a decoder gives up at these."""
_NEEDED = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
"""Application segments that say how colours are meant. The others, comments too, are not shown to a decoder."""
_MARKER = re.compile(rb"\xff([\x02-\xcf\xd8-\xfe])")
_NO_METADATA = 0b1101_0011
"""The flags of a WebP's VP8X chunk, but for those of ICC, EXIF and XMP."""
_HAS_PROFILE = 0b10_0000
_WEBP_KEPT = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH")
_PROFILE, _PROFILE_PLACE = b"acsp", 36
"""The signature of every colour profile; colours without a readable one count as sRGB."""


@dataclass(frozen=True)
class Header:
    """A file's own metadata.

    fault: why it cannot be decoded, for the caller; None for a sound container. scans: passes of a JPEG. orientation:
    EXIF's, 1 to 8. profile_bytes: stored size of its colour profile. png: its structure; kept: for other formats, start
    and end of the parts that the decoder needs.
    """

    format: Format
    width: int
    height: int
    is_animated: bool = False
    fault: str | None = None
    scans: int = 1
    orientation: int = 1
    profile_bytes: int = 0
    png: png.Structure | None = None
    kept: tuple[tuple[int, int], ...] = ()

    def essence(self, data: bytes) -> bytes:
        """The file reduced to the parts of a still image, so no decoder parses the rest."""
        if self.png is not None:
            return self.png.essence(data)
        parts = b"".join(data[start:end] for start, end in self.kept)
        return _as_webp(parts, has_profile=self.profile_bytes > 0) if self.format == "WEBP" else parts


def is_picture(start: bytes) -> bool:
    """Whether a file starts like a PNG, JPEG or WebP file.

    Needs its first 12 bytes.
    """
    if start.startswith(b"RIFF"):
        return start[8:12] == b"WEBP"
    return any(start.startswith(magic) for magic in _READERS)


def read(data: bytes) -> Header | None:
    """The header of a PNG, JPEG or WebP file.

    None for other files, or if even the size is unreadable.
    """
    reader = next((reader for magic, reader in _READERS.items() if data.startswith(magic)), None)
    return reader(data) if reader else None


def is_lossy(data: bytes) -> bool:
    """Whether a PNG, JPEG or WebP file was compressed by a lossy codec."""
    if data.startswith(b"\xff\xd8\xff"):
        return True
    chunk = 12  # after RIFF, size, WEBP
    while data[:4] == b"RIFF" and chunk + 8 <= len(data):
        if data[chunk : chunk + 4] in (b"VP8 ", b"VP8L"):
            return data[chunk : chunk + 4] == b"VP8 "
        chunk += 8 + (int.from_bytes(data[chunk + 4 : chunk + 8], "little") + 1) // 2 * 2
    return False


def orientation(exif: bytes) -> int:
    """The EXIF orientation, 1 to 8, of a TIFF block with or without the "Exif" prefix.

    1 if it has no valid one.
    """
    block = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(block[:4])
    if order is None or len(block) < 8:
        return 1
    start = struct.unpack_from(f"{order}I", block, 4)[0]
    if start + 2 > len(block):
        return 1
    count = struct.unpack_from(f"{order}H", block, start)[0]
    entries = block[start + 2 : start + 2 + 12 * count]
    for tag, kind, number, value in struct.iter_unpack(f"{order}HHIH2x", entries[: len(entries) // 12 * 12]):
        if (tag, kind, number) == (_EXIF_ORIENTATION, 3, 1) and 1 <= value <= 8:
            return int(value)
    return 1


def _read_png(data: bytes) -> Header | None:
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    width, height = struct.unpack_from(">II", data, 16)
    structure, fault = png.walk(data, MAX_PARTS)
    is_animated = structure is not None and structure.frames > 1
    turn = orientation(structure.exif) if structure is not None else 1
    return Header("PNG", width, height, is_animated, fault, orientation=turn, png=structure)


def _read_jpeg(data: bytes) -> Header | None:
    size, is_progressive, exif, profile_bytes = None, False, b"", 0
    kept = [(0, 2)]
    for marker, start, end in _segments(data):
        is_application = marker in _APPLICATION
        if marker == _EXIF_MARKER and not exif and data.startswith(b"Exif\0\0", start):
            exif = data[start:end]
        if not is_application or (marker in _NEEDED and data.startswith(_NEEDED[marker], start)):
            kept.append((start - 4, end))
            profile_bytes += end - start if marker == _PROFILE_MARKER else 0
        if marker in _START_OF_FRAME and size is None:
            if end - start < 6:
                return None
            height, width = struct.unpack_from(">HH", data, start + 1)
            size, is_progressive = (width, height), marker in _PROGRESSIVE
        elif marker == _SCAN:
            if size is None:
                return None
            scans, is_whole = _scans(data, end)
            fault = "it is cut off" if is_progressive and not is_whole else None
            if scans > MAX_PARTS:
                fault = f"it has over {MAX_PARTS} scans"
            kept[-1] = (start - 4, len(data))
            return Header(
                "JPEG",
                *size,
                fault=fault,
                scans=scans,
                orientation=orientation(exif),
                profile_bytes=profile_bytes,
                kept=tuple(kept),
            )
    return Header("JPEG", *size, fault="it has no image data") if size else None


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's body, from SOI to the first scan.

    Stops at a malformed part.
    """
    place = 2
    for _ in range(MAX_PARTS):
        place = data.find(b"\xff", place)  # bytes between segments are skipped, as in decoders
        if place < 0 or place + 4 > len(data):
            return
        marker = data[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        if marker in _BARE:
            place += 2
            continue
        if marker in _ENDS:
            return
        length = struct.unpack_from(">H", data, place + 2)[0]
        end = place + 2 + length
        if length < 2 or end > len(data):
            return
        yield marker, place + 4, end
        place = end


def _scans(data: bytes, place: int) -> tuple[int, bool]:
    """Count the scans from `place` to the end of the image, and whether that exists."""
    scans = 1
    while match := _MARKER.search(data, place):
        marker = match[1][0]
        if marker == _END:
            return scans, True
        if match.end() + 2 > len(data):
            break
        scans += marker == _SCAN
        if scans > MAX_PARTS:
            break
        place = match.end() + struct.unpack_from(">H", data, match.end())[0]
    return scans, False


def _read_webp(data: bytes) -> Header | None:
    if data[8:12] != b"WEBP" or len(data) < 30:
        return None
    kind, first = data[12:16], data[20:30]
    if kind == b"VP8X":
        width, height = (int.from_bytes(first[i : i + 3], "little") + 1 for i in (4, 7))
    elif kind == b"VP8L" and first[0] == 0x2F:
        bits = int.from_bytes(first[1:5], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 " and first[3:6] == b"\x9d\x01\x2a":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", first, 6))
    else:
        return None
    end = 8 + int.from_bytes(data[4:8], "little")
    parts = _webp_parts(data, min(end, len(data)))
    fault = "it is cut off" if end > len(data) else None if parts.is_sound else "its parts do not fit together"
    return Header(
        "WEBP",
        width,
        height,
        parts.frames > 1,
        fault,
        orientation=orientation(parts.exif),
        profile_bytes=parts.profile_bytes,
        kept=tuple(parts.kept),
    )


@dataclass
class _WebpParts:
    """The chunks of a WebP file.

    is_sound: whether they fill the file. kept: start and end of the needed ones.
    """

    frames: int = 0
    exif: bytes = b""
    profile_bytes: int = 0
    is_sound: bool = False
    kept: list[tuple[int, int]] = field(default_factory=list)


def _webp_parts(data: bytes, end: int) -> _WebpParts:
    parts = _WebpParts()
    place = 12
    for _ in range(MAX_PARTS):
        if place + 8 > end:
            parts.is_sound = True
            return parts
        kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        parts.frames += kind == b"ANMF"
        if kind == b"EXIF" and not parts.exif:
            parts.exif = data[place + 8 : place + 8 + length]
        is_profile = kind == b"ICCP" and data.startswith(_PROFILE, place + 8 + _PROFILE_PLACE)
        if is_profile:
            parts.profile_bytes += length
        if is_profile or kind in _WEBP_KEPT:
            parts.kept.append((place, place + 8 + length + length % 2))
        place += 8 + length + length % 2
        if place > end + 1:
            return parts
    return parts


def _as_webp(chunks: bytes, *, has_profile: bool) -> bytes:
    """A WebP file of these chunks, without EXIF and XMP."""
    if chunks.startswith(b"VP8X"):
        flags = chunks[8] & _NO_METADATA | (_HAS_PROFILE if has_profile else 0)
        chunks = chunks[:8] + bytes([flags]) + chunks[9:]
    return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks


_READERS: dict[bytes, Callable[[bytes], Header | None]] = {
    png.SIGNATURE: _read_png,
    b"\xff\xd8\xff": _read_jpeg,
    b"RIFF": _read_webp,
}
