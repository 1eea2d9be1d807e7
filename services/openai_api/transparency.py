"""Whether a picture file can have transparent pixels, told from its first bytes."""

from __future__ import annotations


def may_be_transparent(data: bytes) -> bool:
    """Whether a PNG or WebP file declares transparency; JPEG has none.

    It does not detect malformed files.
    """
    if data.startswith(b"\x89PNG"):
        has_channel = data[25:26] in (b"\x04", b"\x06")  # the colour types with alpha
        return has_channel or b"tRNS" in data[: data.find(b"IDAT")]
    flags = {b"VP8X": data[20:21], b"VP8L": data[24:25]}.get(data[12:16], b"") if data.startswith(b"RIFF") else b""
    return bool(flags) and bool(flags[0] & 0x10)
