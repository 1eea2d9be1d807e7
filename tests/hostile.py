"""Hostile and odd picture files, made by code, each with what must become of it.

`CASES` maps a name to a `Case`. Files are made when asked for, so importing this costs nothing.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

Size = tuple[int, int]

SIGNATURE = b"\x89PNG\r\n\x1a\n"
SIDE = 64
NOISE = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
MEGA = 5000
"""Side of a picture of 25 megapixels."""


@dataclass(frozen=True)
class Case:
    """A file and its expected result: `size` if accepted, else a message pattern."""

    make: Callable[[], bytes]
    size: Size | None = None
    says: str = ""
    by: Literal["header", "decoding"] = "header"
    pixels: int = SIDE * SIDE


CASES: dict[str, Case] = {}


def refused(says: str, make: Callable[[], bytes], by: Literal["header", "decoding"] = "header", **more: int) -> Case:
    return Case(make, says=says, by=by, **more)


def accepted(make: Callable[[], bytes], size: Size = (SIDE, SIDE)) -> Case:
    return Case(make, size=size, pixels=size[0] * size[1])


# --- the building blocks -------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes = b"", *, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)


def ihdr(width: int = SIDE, height: int = SIDE, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


@cache
def deflated_zeros(count: int) -> bytes:
    packer = zlib.compressobj(9)
    block = bytes(1 << 20)
    parts = [packer.compress(block) for _ in range(count >> 20)]
    return b"".join((*parts, packer.compress(bytes(count & 0xFFFFF)), packer.flush()))


def png(
    *chunks: bytes, header: bytes | None = None, rows: bytes | None = None, data: bytes | None = None, end: bool = True
) -> bytes:
    """A PNG of noise, `rows` (filtered) or `data` (deflated), with more chunks first."""
    if rows is None:
        rows = b"".join(b"\0" + row.tobytes() for row in NOISE[:, :, :3])
    idat = chunk(b"IDAT", zlib.compress(rows) if data is None else data)
    return SIGNATURE + (header or ihdr()) + b"".join(chunks) + idat + (chunk(b"IEND") if end else b"")


def plain_png(width: int, height: int, depth: int, colour: int, interlace: int = 0) -> bytes:
    """All zeros, of any size: a few KB that become hundreds of MB."""
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    palette = [chunk(b"PLTE", bytes(768))] if colour == 3 else []
    row = 1 + (width * depth * samples + 7) // 8
    return png(
        *palette,
        header=ihdr(width, height, depth, colour, interlace),
        data=deflated_zeros(row * height * (1 + interlace)),
    )


def saved(format: str, image: Image.Image | None = None, **options: object) -> bytes:
    image = image or Image.fromarray(NOISE[:, :, :3])
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def frames(count: int) -> dict[str, object]:
    return {"save_all": True, "append_images": [Image.new("RGB", (SIDE, SIDE), (i * 4, 0, 0)) for i in range(1, count)]}


def segment(marker: int, body: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_with(*segments: bytes, **options: object) -> bytes:
    """A JPEG with segments put behind its first marker."""
    data = saved("JPEG", **options)
    return data[:2] + b"".join(segments) + data[2:]


def jpeg_of_size(width: int, height: int) -> bytes:
    """A JPEG whose frame header lies."""
    data = bytearray(saved("JPEG"))
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def many_scans(side: int, count: int) -> bytes:
    """A progressive JPEG whose last, empty scan comes again and again."""
    data = saved("JPEG", Image.new("L", (side, side), 128), progressive=True)
    last = [match.start() for match in re.finditer(b"\xff\xda", data)][-1]
    return data[:-2] + data[last:-2] * count + data[-2:]


def repeated_scan(side: int, count: int) -> bytes:
    """A sequential JPEG with one scan per component, the last repeated without data."""
    data = saved("JPEG", Image.new("RGB", (side, side), "grey"), subsampling=0)
    place = data.index(b"\xff\xda")
    length = struct.unpack_from(">H", data, place + 2)[0]
    head, body = data[:place], data[place + 2 + length : -2]
    scans = [segment(0xDA, bytes([1, number, 0x11 if number > 1 else 0, 0, 63, 0])) for number in (1, 2, 3)]
    return head + scans[0] + body + scans[1] + scans[2] * count + b"\xff\xd9"


def behind_bare_marker(marker: bytes) -> bytes:
    """Scans where a reader that takes the marker for a segment sees only its body."""
    data = saved("JPEG")
    place = data.index(b"\xff\xda")
    scan = data[place:-2]
    hidden = scan + segment(0xDA, bytes([1, 1, 0, 0, 63, 0])) * 3000
    hidden += bytes(0xF000 - len(hidden))
    return data[:place] + marker + struct.pack(">H", len(hidden) + 2) + hidden + data[place:]


def exif_block(orientation: int, *, count: int = 1, kind: int = 3) -> bytes:
    entry = struct.pack("<HHIHH", 0x0112, kind, count, orientation, 0)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, 1) + entry + bytes(4)


def jpeg_with_exif(block: bytes) -> bytes:
    return jpeg_with(segment(0xE1, block))


def webp_chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp(*chunks: bytes, length: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if length is None else length) + body


def vp8x(width: int, height: int, flags: int = 0) -> bytes:
    return webp_chunk(
        b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )


def damaged(data: bytes, start: float, count: int) -> bytes:
    """With so many bytes from a part of the file on turned over."""
    place = int(len(data) * start)
    return data[:place] + bytes(byte ^ 0x5A for byte in data[place : place + count]) + data[place + count :]


def ramp(side: int, channels: int) -> Image.Image:
    """A large picture that packs well but is not flat."""
    line = (np.arange(side * channels) // 7 % 256).astype(np.uint8)
    rows = (line[None, :] + (np.arange(side) // 5 % 256).astype(np.uint8)[:, None]).reshape(side, side, channels)
    return Image.fromarray(rows[:, :, 0] if channels == 1 else rows, {4: "CMYK"}.get(channels))


# --- not a picture, or not one of ours -----------------------------------------------------------------------------

_FOREIGN = {
    "nothing": (b"", "empty"),
    "one byte": (b"\x89", "not a PNG"),
    "text": (b"no picture at all\n" * 30, "not a PNG"),
    "HTML": (b"<!DOCTYPE html><script>alert(1)</script>" + bytes(64), "HTML"),
    "SVG": (b'<svg xmlns="http://www.w3.org/2000/svg" onload="x()"/>', "SVG"),
    "XML with an external entity": (
        b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
        "SVG",
    ),
    "PDF": (b"%PDF-1.7\n" + bytes(64), "PDF"),
    "HEIC": (struct.pack(">I", 24) + b"ftypheic" + bytes(64), "HEIC"),
    "PSD": (b"8BPS\0\1" + bytes(64), "PSD"),
    "ZIP": (b"PK\x03\x04" + bytes(64), "ZIP"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(64), "not a PNG"),
    "portable pixmap of a size of its own": (b"P6 99999 99999 255\n", "not a PNG"),
    "RIFF that is a sound": (b"RIFF" + struct.pack("<I", 100) + b"WAVEfmt " + bytes(92), "damaged"),
    "PNG behind a byte order mark": (b"\xef\xbb\xbf" + SIGNATURE + bytes(64), "not a PNG"),
}
CASES |= {name: refused(says, lambda data=data: data) for name, (data, says) in _FOREIGN.items()}
for _format in ("GIF", "BMP", "TIFF", "ICO"):
    CASES[_format] = refused("not a PNG", lambda name=_format: saved(name))

# --- PNG: the container tells ---------------------------------------------------------------------------------------

CASES |= {
    "PNG of a signature": refused("damaged", lambda: SIGNATURE),
    "PNG of a header": refused("damaged", lambda: SIGNATURE + ihdr()),
    "PNG that says 65535x65535": refused("megapixels", lambda: SIGNATURE + ihdr(65535, 65535)),
    "PNG that says 4294967295x4294967295": refused("megapixels", lambda: SIGNATURE + ihdr(2**32 - 1, 2**32 - 1)),
    "PNG of 16385x16": refused("16384 px", lambda: plain_png(16385, 16, 8, 2)),
    "PNG of 16x16385": refused("16384 px", lambda: plain_png(16, 16385, 8, 2)),
    "PNG of 1x16384": refused("1x16384", lambda: plain_png(1, 16384, 8, 2)),
    "PNG of 15x16": refused("15x16", lambda: plain_png(15, 16, 8, 2)),
    "PNG of 0x0": refused("0x0", lambda: png(header=ihdr(0, 0))),
    "PNG of one row over 25 megapixels": refused("megapixels", lambda: plain_png(MEGA, MEGA + 1, 8, 2)),
    "PNG of 110 KB that becomes 900 megapixels": refused("megapixels", lambda: plain_png(16384, 16384, 1, 0)),
    "PNG of 620 KB that becomes 634 MB": refused("megapixels", lambda: plain_png(12590, 12590, 8, 6)),
    "APNG of 3 frames": refused("animated", lambda: saved("PNG", **frames(3))),
    "APNG that says 4294967295 frames": refused("animated", lambda: png(chunk(b"acTL", b"\xff" * 4 + bytes(4)))),
    "PNG whose header's checksum is wrong": refused("checksum", lambda: png(header=ihdr()[:-4] + bytes(4))),
    "PNG whose data's checksum is wrong": refused("checksum", lambda: damaged(png(), 0.5, 9)),
    "PNG without data": refused("no image data", lambda: SIGNATURE + ihdr() + chunk(b"IEND")),
    "PNG without an end": refused("cut off", lambda: png(end=False)),
    "PNG without a palette": refused("no palette", lambda: png(header=ihdr(colour=3), rows=bytes(65 * 64))),
    "PNG of depth 3": refused("header", lambda: png(header=ihdr(depth=3))),
    "PNG of colour type 5": refused("header", lambda: png(header=ihdr(colour=5))),
    "PNG of interlace 7": refused("header", lambda: png(header=ihdr(interlace=7))),
    "PNG that begins with text": refused("damaged", lambda: png(header=chunk(b"tEXt", b"a\0b") + ihdr())),
    "PNG of two headers": refused("header", lambda: png(ihdr(9000, 9000))),
    "PNG of a chunk of 4 GiB": refused("cut off", lambda: png(struct.pack(">I", 2**32 - 1) + b"tEXt")),
    "PNG of a million empty chunks": refused("parts", lambda: png(chunk(b"teSt") * 1_000_000)),
}

# --- PNG: only the pixels tell --------------------------------------------------------------------------------------

_HALF = zlib.compress(bytes(65 * 193 // 2))
CASES |= {
    "PNG whose stream ends early": refused("damaged", lambda: png(data=_HALF), "decoding"),
    "PNG whose stream is not deflated": refused("damaged", lambda: png(data=b"\x12" * 999), "decoding"),
    "PNG whose data is empty": refused("damaged", lambda: png(data=b""), "decoding"),
    "PNG of an unknown filter": refused("damaged", lambda: png(rows=(b"\x09" + bytes(192)) * 64), "decoding"),
    "large PNG whose stream ends early": refused(
        "damaged",
        lambda: png(header=ihdr(MEGA, MEGA, 8, 6), data=deflated_zeros(20001 * 4990)),
        "decoding",
        pixels=MEGA * MEGA,
    ),
    "large 16-bit PNG with a fault at its end": refused(
        "damaged",
        lambda: png(header=ihdr(MEGA, MEGA, 16, 6), data=damaged(deflated_zeros(40001 * MEGA), 0.99, 99)),
        "decoding",
        pixels=MEGA * MEGA,
    ),
    "large interlaced PNG whose stream ends early": refused(
        "damaged",
        lambda: png(header=ihdr(MEGA, MEGA, 8, 2, 1), data=deflated_zeros(15001 * 4000)),
        "decoding",
        pixels=MEGA * MEGA,
    ),
    "PNG with a colour profile of 1 GB": refused(
        "damaged", lambda: png(chunk(b"iCCP", b"x\0\0" + deflated_zeros(1 << 30))), "decoding"
    ),
}

# --- PNG: odd, but good ---------------------------------------------------------------------------------------------

CASES |= {
    "PNG with 64 texts of 8 MB": accepted(lambda: png(chunk(b"zTXt", b"a\0\0" + deflated_zeros(1 << 23)) * 64)),
    "PNG with a packed iTXt of 1 GB": accepted(lambda: png(chunk(b"iTXt", b"a\0\1\0\0\0" + deflated_zeros(1 << 30)))),
    "PNG with EXIF of 16 MB": accepted(lambda: png(chunk(b"eXIf", exif_block(1)[6:] + bytes(1 << 24)))),
    "PNG with a broken colour profile": accepted(lambda: png(chunk(b"iCCP", b"x\0\0" + zlib.compress(b"\xff" * 999)))),
    "PNG with a script behind its end": accepted(lambda: png() + b"<script>alert(1)</script>"),
    "PNG with an archive behind its end": accepted(lambda: png() + b"PK\x03\x04" + bytes(999)),
    "PNG in pieces of one byte": accepted(
        lambda: (
            SIGNATURE
            + ihdr(data_rows := 16, 16, 8, 0)
            + b"".join(chunk(b"IDAT", bytes([byte])) for byte in zlib.compress(bytes(17 * data_rows)))
            + chunk(b"IEND")
        ),
        (16, 16),
    ),
    "PNG of 16x16384": accepted(lambda: plain_png(16, 16384, 8, 2), (16, 16384)),
    "PNG of 25 megapixels of 1 bit": accepted(lambda: plain_png(MEGA, MEGA, 1, 0), (MEGA, MEGA)),
    "PNG of 25 megapixels of 16-bit RGBA": accepted(lambda: plain_png(MEGA, MEGA, 16, 6), (MEGA, MEGA)),
    "PNG of 25 megapixels of 16-bit grey": accepted(lambda: plain_png(MEGA, MEGA, 16, 0), (MEGA, MEGA)),
    "PNG of 25 megapixels of a palette": accepted(lambda: plain_png(MEGA, MEGA, 8, 3), (MEGA, MEGA)),
    "PNG with one declared frame": accepted(lambda: png(chunk(b"acTL", struct.pack(">II", 1, 0)))),
}

# --- JPEG -----------------------------------------------------------------------------------------------------------

CASES |= {
    "JPEG of a marker": refused("damaged", lambda: b"\xff\xd8\xff"),
    "JPEG without a frame": refused("damaged", lambda: b"\xff\xd8" + segment(0xE0, bytes(14)) + b"\xff\xd9"),
    "JPEG without a scan": refused("no image data", lambda: saved("JPEG").partition(b"\xff\xda")[0]),
    "JPEG whose height is to follow": refused("64x0", lambda: jpeg_of_size(SIDE, 0)),
    "JPEG that says 65535x65535": refused("megapixels", lambda: jpeg_of_size(65535, 65535)),
    "JPEG of a frame header of 3 bytes": refused(
        "damaged", lambda: b"\xff\xd8" + segment(0xC0, b"\x08\0\1") + bytes(99)
    ),
    "JPEG of 500 scans at 25 megapixels": refused("scans", lambda: many_scans(MEGA, 500)),
    "JPEG of 130,000 scans": refused("damaged", lambda: many_scans(SIDE, 130_000)),
    "sequential JPEG of 2,000 scans at 25 megapixels": refused("scans", lambda: repeated_scan(MEGA, 2000)),
    "sequential JPEG of 60,000 scans": refused("scans", lambda: repeated_scan(SIDE, 60_000)),
    "JPEG that ends before its first scan": refused(
        "no image data", lambda: saved("JPEG").replace(b"\xff\xda", b"\xff\xd9\xff\xda", 1)
    ),
    "JPEG of a million comments": refused("damaged", lambda: jpeg_with(segment(0xFE) * 1_000_000)),
    "progressive JPEG that is cut off": refused("cut off", lambda: saved("JPEG", progressive=True)[:-900]),
    "JPEG that is cut off": refused("damaged", lambda: saved("JPEG")[:-900], "decoding"),
    "JPEG of 25 megapixels that is cut off": refused(
        "damaged", lambda: saved("JPEG", ramp(MEGA, 3))[:-9000], "decoding", pixels=MEGA * MEGA
    ),
    "JPEG of 12 bits": refused(
        "damaged", lambda: saved("JPEG").replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), "decoding"
    ),
    "lossless JPEG": refused(
        "damaged", lambda: saved("JPEG").replace(b"\xff\xc0\x00\x11", b"\xff\xc3\x00\x11"), "decoding"
    ),
    "JPEG of two frames": refused(
        "damaged", lambda: jpeg_with(segment(0xC0, b"\x08\0\x20\0\x20\1\1\x11\0")), "decoding"
    ),
    "JPEG without tables": refused("damaged", lambda: saved("JPEG").replace(b"\xff\xdb", b"\xff\xfe"), "decoding"),
    "JPEG that says more than it holds, whose rest is grey": accepted(lambda: jpeg_of_size(1000, 900), (1000, 900)),
    "JPEG with bytes between its segments": accepted(lambda: jpeg_with(segment(0xFE, b"x") + bytes(5))),
    "JPEG with EXIF orientation 99": accepted(lambda: jpeg_with_exif(exif_block(99))),
    "JPEG with an orientation of a million values": accepted(lambda: jpeg_with_exif(exif_block(6, count=10**6))),
    "JPEG with an orientation that is text": accepted(lambda: jpeg_with_exif(exif_block(6, kind=2))),
    "JPEG with EXIF that points beyond its end": accepted(lambda: jpeg_with_exif(b"Exif\0\0II*\0\xff\xff\xff\xff")),
    "JPEG with EXIF of 65535 entries": accepted(
        lambda: jpeg_with_exif(b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(60_000))
    ),
    "JPEG with an EXIF of 8 MB in parts": accepted(
        lambda: jpeg_with(segment(0xE1, exif_block(1) + bytes(65_000)) * 128)
    ),
    "JPEG with a broken colour profile": accepted(lambda: saved("JPEG", icc_profile=b"\xff" * 999)),
    "JPEG with half a colour profile": accepted(
        lambda: jpeg_with(
            segment(0xE2, b"ICC_PROFILE\0\1\2" + ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
        )
    ),
    "JPEG with a colour profile for another kind of picture": accepted(
        lambda: saved("JPEG", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    ),
    "JPEG with a page behind its end": accepted(lambda: saved("JPEG") + b"<html><script>alert(1)</script></html>"),
    "JPEG with a second picture behind it": accepted(lambda: saved("MPO", **frames(2))),
    "JPEG with a broken index of further pictures": accepted(lambda: jpeg_with(segment(0xE2, b"MPF\0" + b"\xff" * 60))),
    "JPEG with fill bytes": accepted(lambda: jpeg_with(b"\xff" * 9)),
    "sequential JPEG of three scans": accepted(lambda: repeated_scan(SIDE, 1)),
    "JPEG of 500 scans": accepted(lambda: many_scans(SIDE, 500)),
    "JPEG of 25 megapixels of CMYK": accepted(lambda: saved("JPEG", ramp(MEGA, 4), progressive=True), (MEGA, MEGA)),
    "JPEG named PNG": accepted(lambda: saved("JPEG")),
}

# --- WebP -----------------------------------------------------------------------------------------------------------

BIG = bytes(30_000_000)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()

CASES |= {
    "WebP with 30 MB of EXIF": accepted(lambda: saved("WEBP", exif=exif_block(1) + BIG)),
    "WebP with 30 MB of XMP": accepted(lambda: saved("WEBP", xmp=BIG)),
    "WebP with 30 MB that are no colour profile": accepted(lambda: saved("WEBP", icc_profile=BIG)),
    "WebP with a colour profile of 30 MB": refused("profile", lambda: saved("WEBP", icc_profile=PROFILE + BIG)),
    "WebP of 60 frames": refused("animated", lambda: saved("WEBP", **frames(60))),
    "WebP that says 16384x16384": refused("megapixels", lambda: webp(vp8x(16384, 16384))),
    "lossless WebP that says 16384x16384": refused(
        "megapixels", lambda: webp(webp_chunk(b"VP8L", b"\x2f" + b"\xff" * 20))
    ),
    "WebP that says 16777216x16777216": refused("megapixels", lambda: webp(vp8x(1 << 24, 1 << 24))),
    "WebP that is cut off": refused("cut off", lambda: saved("WEBP")[:-20]),
    "WebP of 4 GiB": refused("cut off", lambda: webp(vp8x(SIDE, SIDE), length=2**32 - 1)),
    "WebP of a part of 4 GiB": refused("fit", lambda: webp(vp8x(SIDE, SIDE), b"VP8 \xff\xff\xff\xff" + bytes(99))),
    "WebP of 3 bytes of size": refused("damaged", lambda: webp(b"VP8X")),
    "WebP of a million parts": refused("fit", lambda: webp(vp8x(SIDE, SIDE), webp_chunk(b"JUNK", b"") * 1_000_000)),
    "WebP without a picture": refused(
        "damaged", lambda: webp(vp8x(SIDE, SIDE), webp_chunk(b"EXIF", bytes(20))), "decoding"
    ),
    "WebP whose canvas is not its picture's": refused(
        "damaged", lambda: webp(vp8x(4000, 4000), saved("WEBP")[12:]), "decoding", pixels=16_000_000
    ),
    "WebP that is damaged": refused("damaged", lambda: damaged(saved("WEBP", lossless=True), 0.003, 400), "decoding"),
    "WebP with EXIF orientation 99": accepted(lambda: saved("WEBP", exif=exif_block(99))),
    "WebP with a broken colour profile": accepted(lambda: saved("WEBP", icc_profile=b"\xff" * 999)),
    "WebP of 25 megapixels": accepted(lambda: saved("WEBP", ramp(MEGA, 3), method=0), (MEGA, MEGA)),
}

# --- cut anywhere ---------------------------------------------------------------------------------------------------


def _cut(format: str, percent: int) -> Callable[[], bytes]:
    def make() -> bytes:
        data = saved(format)
        return data[: len(data) * percent // 100]

    return make


for _format in ("PNG", "JPEG", "WEBP"):
    for _percent in (1, 5, 20, 50, 80, 95, 99):
        CASES[f"{_format} cut at {_percent}%"] = refused("damaged|not a", _cut(_format, _percent), "decoding")
