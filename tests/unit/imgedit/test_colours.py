"""Colours, depths, profiles, alpha and rotations of files, by pixel value."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from imgedit.imaging.images import Picture, Pixels, open_untrusted
from tests.hostile import chunk, ihdr, png, saved

RNG = np.random.default_rng(9)
WIDTH, HEIGHT = 23, 17


def opened(data: bytes) -> Picture:
    return open_untrusted(data, field="input_image")


def deep_png(samples: np.ndarray, colour: int, *chunks: bytes) -> bytes:
    """A 16-bit PNG of (H, W) or (H, W, C) samples."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(*chunks, header=ihdr(WIDTH, HEIGHT, 16, colour), rows=rows)


def packed_png(levels: np.ndarray, depth: int, *chunks: bytes, colour: int = 0) -> bytes:
    """A PNG of (H, W) levels in 1, 2, 4 or 8 bits."""
    bits = np.unpackbits(levels.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
    rows = b"".join(b"\0" + np.packbits(row.reshape(-1)).tobytes() for row in bits)
    return png(*chunks, header=ihdr(WIDTH, HEIGHT, depth, colour), rows=rows)


def nearest(samples: np.ndarray) -> Pixels:
    return np.rint(samples / 257).astype(np.uint8)


# --- 16 bits ---


def test_sixteen_bits_are_rounded_for_every_value() -> None:
    values = np.arange(65536).reshape(256, 256)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.repeat(values[:, :, None], 3, axis=2))
    assert np.array_equal(opened(png(header=ihdr(256, 256, 16, 2), rows=rows)).rgb[:, :, 1], nearest(values))
    grey = saved("PNG", Image.fromarray(values.astype(np.uint16)))
    assert np.array_equal(opened(grey).rgb[:, :, 1], nearest(values))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4)])
def test_sixteen_bit_colours_and_alpha_are_rounded(colour: int, channels: int) -> None:
    samples = RNG.integers(0, 65536, (HEIGHT, WIDTH, channels))
    picture = opened(deep_png(samples, colour))
    assert np.array_equal(picture.rgb, nearest(samples[:, :, :3]))
    assert (picture.alpha is None) == (channels == 3)
    assert picture.alpha is None or np.array_equal(picture.alpha, nearest(samples[:, :, 3]))


def test_sixteen_bit_grey_with_alpha_is_rounded() -> None:
    samples = RNG.integers(0, 65536, (HEIGHT, WIDTH, 2))
    picture = opened(deep_png(samples, 4))
    assert picture.alpha is not None
    assert np.array_equal(picture.rgb, np.repeat(nearest(samples[:, :, :1]), 3, axis=2))
    assert np.array_equal(picture.alpha, nearest(samples[:, :, 1]))


def test_only_exactly_the_transparent_colour_is_transparent_in_sixteen_bits() -> None:
    samples = np.full((HEIGHT, WIDTH, 3), 0x1234)
    samples[0, 1:4] = [[0x1234, 0x1234, 0x1235], [0x1235, 0x1234, 0x1234], [0x1134, 0x1234, 0x1234]]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[0, 1:4] = 255
    rgb = opened(deep_png(samples, 2, chunk(b"tRNS", struct.pack(">HHH", *[0x1234] * 3))))
    assert np.array_equal(rgb.alpha, expected)
    grey = opened(deep_png(samples.min(axis=2), 0, chunk(b"tRNS", b"\x12\x34")))
    assert np.array_equal(grey.alpha, np.where(samples.min(axis=2) == 0x1234, 0, 255))


# --- grey, palettes, one transparent colour ---


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_grey_of_any_depth_spans_black_to_white_and_its_transparent_level_is_clear(depth: int) -> None:
    top = (1 << depth) - 1
    levels = RNG.integers(0, top + 1, (HEIGHT, WIDTH))
    plain = opened(packed_png(levels, depth))
    assert plain.alpha is None
    assert np.array_equal(plain.rgb[:, :, 2], levels * 255 // top)
    keyed = opened(packed_png(levels, depth, chunk(b"tRNS", struct.pack(">H", top))))
    assert np.array_equal(keyed.alpha, np.where(levels == top, 0, 255))
    assert np.array_equal(keyed.rgb, plain.rgb)


def test_the_transparent_colour_of_an_rgb_picture_is_clear() -> None:
    rgb = RNG.integers(0, 2, (HEIGHT, WIDTH, 3)).astype(np.uint8) * 200
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    found = opened(png(chunk(b"tRNS", struct.pack(">HHH", 200, 0, 200)), header=ihdr(WIDTH, HEIGHT), rows=rows))
    assert np.array_equal(found.alpha == 0, (rgb == [200, 0, 200]).all(axis=2))
    assert np.array_equal(found.rgb, rgb)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_palette_gives_its_colours_and_its_alpha(depth: int) -> None:
    count = 1 << depth
    palette, alphas = (RNG.integers(0, 256, shape).astype(np.uint8) for shape in ((count, 3), (count,)))
    levels = RNG.integers(0, count, (HEIGHT, WIDTH))
    chunks = [chunk(b"PLTE", palette.tobytes())]
    assert np.array_equal(opened(packed_png(levels, depth, *chunks, colour=3)).rgb, palette[levels])
    clear = opened(packed_png(levels, depth, *chunks, chunk(b"tRNS", alphas.tobytes()), colour=3))
    assert np.array_equal(clear.rgb, palette[levels])
    assert np.array_equal(clear.alpha, alphas[levels])


def test_grey_with_alpha_keeps_both() -> None:
    both = RNG.integers(0, 256, (HEIGHT, WIDTH, 2)).astype(np.uint8)
    picture = opened(saved("PNG", Image.fromarray(both, "LA")))
    assert np.array_equal(picture.rgb[:, :, 1], both[:, :, 0])
    assert np.array_equal(picture.alpha, both[:, :, 1])


# --- CMYK ---


def test_cmyk_is_read_as_adobe_writes_it() -> None:
    """With inverted samples, as all programs write such files."""
    for ink, colour in (
        ((0, 0, 0, 0), 255),
        ((0, 0, 0, 255), 0),
        ((0, 0, 0, 100), 155),
        ((255, 0, 0, 0), (0, 255, 255)),
    ):
        data = saved("JPEG", Image.new("CMYK", (32, 32), ink), quality=100)
        assert b"Adobe" in data
        assert np.abs(opened(data).rgb.astype(int) - colour).max() <= 2


# --- colour profiles ---


def profile(kind: bytes, space: bytes, pcs: bytes, tags: dict[bytes, bytes]) -> bytes:
    """An ICC profile, version 2."""
    tags = {b"wtpt": b"XYZ \0\0\0\0" + fixed(0.9642, 1.0, 0.8249), **tags}
    place, table, body = 128 + 4 + 12 * len(tags), struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += struct.pack(">4sII", name, place + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    head = struct.pack(
        ">I4sI4s4s4s12s4s", place + len(body), bytes(4), 0x02400000, kind, space, pcs, bytes(12), b"acsp"
    )
    return head + bytes(68 - len(head)) + fixed(0.9642, 1.0, 0.8249) + bytes(48) + table + body


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


LINEAR = b"curv\0\0\0\0\0\0\0\0"
GREY_LINEAR = profile(b"mntr", b"GRAY", b"XYZ ", {b"kTRC": LINEAR})
RGB_LINEAR = profile(
    b"mntr",
    b"RGB ",
    b"XYZ ",
    {
        b"rXYZ": b"XYZ \0\0\0\0" + fixed(0.4361, 0.2225, 0.0139),
        b"gXYZ": b"XYZ \0\0\0\0" + fixed(0.3851, 0.7169, 0.0971),
        b"bXYZ": b"XYZ \0\0\0\0" + fixed(0.1431, 0.0606, 0.7141),
        b"rTRC": LINEAR,
        b"gTRC": LINEAR,
        b"bTRC": LINEAR,
    },
)
"""sRGB's primaries without its curve."""


def cmyk_profile() -> bytes:
    """Paper is white, cyan ink a middle grey (L* 50), all else black."""
    ramp = bytes(range(256))
    corners = bytearray(b"\0\x80\x80" * 16)
    corners[0:3], corners[8 * 3 : 8 * 3 + 3] = b"\xff\x80\x80", b"\x80\x80\x80"
    matrix = fixed(1, 0, 0, 0, 1, 0, 0, 0, 1)
    table = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + matrix + ramp * 4 + bytes(corners) + ramp * 3
    return profile(b"prtr", b"CMYK", b"Lab ", {b"A2B0": table})


def srgb_of_linear(levels: np.ndarray) -> np.ndarray:
    share = levels / 255
    return np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055) * 255


GREYS = np.tile(np.arange(256, dtype=np.uint8), (16, 1))


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_grey_profile_is_followed(format: str) -> None:
    options = {"quality": 100} if format == "JPEG" else {}
    picture = opened(saved(format, Image.fromarray(GREYS), icc_profile=GREY_LINEAR, **options))
    assert np.abs(picture.rgb[:, :, 0] - srgb_of_linear(GREYS)).max() <= (6 if format == "JPEG" else 1)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P"])
@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_rgb_profile_is_followed_in_every_mode_and_alpha_is_not_touched(mode: str, format: str) -> None:
    image = Image.fromarray(GREYS)
    image = image.quantize(256) if mode == "P" else image.convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(GREYS[:, ::-1].copy()))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    picture = opened(saved(format, image, icc_profile=RGB_LINEAR, **options))
    assert np.abs(picture.rgb - srgb_of_linear(GREYS)[:, :, None]).max() <= 1
    assert (picture.alpha is not None) == mode.endswith("A")
    assert picture.alpha is None or np.array_equal(picture.alpha, GREYS[:, ::-1])


def test_a_cmyk_profile_is_followed() -> None:
    for ink, level in (((0, 0, 0, 0), 255), ((255, 0, 0, 0), 119), ((0, 0, 0, 255), 0)):
        data = saved("JPEG", Image.new("CMYK", (32, 32), ink), quality=100, icc_profile=cmyk_profile())
        assert np.abs(opened(data).rgb.astype(int) - level).max() <= 2


def test_a_profile_of_another_colour_space_is_not_followed() -> None:
    rgb = RNG.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for wrong in (GREY_LINEAR, cmyk_profile(), RGB_LINEAR[:200], b"x"):
        assert np.array_equal(opened(saved("PNG", Image.fromarray(rgb), icc_profile=wrong)).rgb, rgb)


def test_sixteen_bits_follow_their_profile_too() -> None:
    samples = RNG.integers(0, 65536, (HEIGHT, WIDTH, 3))
    body = b"x\0\0" + zlib.compress(RGB_LINEAR)
    found = opened(deep_png(samples, 2, chunk(b"iCCP", body))).rgb
    assert np.abs(found - srgb_of_linear(nearest(samples))).max() <= 1


# --- turns ---

TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("format", ["PNG", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", [*TURNS, 0, 9, 99])
@pytest.mark.parametrize("order", ["<", ">"])
def test_the_exif_orientation_is_applied_in_every_format(format: str, orientation: int, order: str) -> None:
    pixels = RNG.integers(0, 256, (300, 20, 3 if format == "JPEG" else 4)).astype(np.uint8)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    entries = struct.pack(f"{order}HHIHH", 0x0100, 3, 1, 5, 0) + struct.pack(
        f"{order}HHIHH", 0x0112, 3, 1, orientation, 0
    )
    exif = b"Exif\0\0" + magic + struct.pack(f"{order}IH", 8, 2) + entries + bytes(4)
    options: dict[str, object] = {"lossless": True, "exact": True} if format == "WEBP" else {}
    plain = opened(saved(format, Image.fromarray(pixels), **options))
    turned = opened(saved(format, Image.fromarray(pixels), exif=exif, **options))
    turn = TURNS.get(orientation, TURNS[1])
    assert np.array_equal(turned.rgb, turn(plain.rgb))
    assert (turned.alpha is None) == (format == "JPEG")
    assert turned.alpha is None or np.array_equal(turned.alpha, turn(plain.alpha))


def test_the_first_picture_of_a_multi_picture_file_is_taken() -> None:
    first, second = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    found = opened(saved("MPO", first, save_all=True, append_images=[second])).rgb
    assert (found[:, :, 0] > 250).all()
    assert (found[:, :, 2] < 5).all()
