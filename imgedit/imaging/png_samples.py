"""PNG samples that Pillow would lose.

16 bits are rounded, and one colour may be clear.

Returns 8-bit images of Pillow's modes 1, L, LA, P, RGB and RGBA.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from imgedit.imaging.png import Structure

Pixels = NDArray[np.uint8]

_BAND = 256
_GREY, _RGB, _GREY_ALPHA = 0, 2, 4

_LOW_BYTES = {"RGB;16B": "RGB;16L", "RGBA;16B": "RGBA;16L"}
"""Pillow keeps the first byte of a 16-bit sample. Told that they come in the other order, it keeps the second."""


def load(data: bytes, structure: Structure) -> Image.Image:
    """The decoded image; its `info` holds Pillow's profile and EXIF.

    Raises Pillow's errors.
    """
    if structure.depth == 16:
        return _load_16_bits(data, structure)
    image: Image.Image = PngImagePlugin.PngImageFile(io.BytesIO(data))
    image.load()
    if structure.transparency and structure.colour in (_GREY, _RGB):
        key = [value * 255 // ((1 << structure.depth) - 1) for value in _key(structure)]
        image = image.convert("L") if image.mode == "1" else image
        image.putalpha(_keyed(np.asarray(image), key))
    return image


def round_16_bits(high: Pixels, low: Pixels) -> None:
    """Round 16-bit samples to 8 bits in place in `high`, their high bytes.

    v / 257, rounded. v = 257 × high + (low − high), so that difference decides whether the nearest is one more or one
    less.
    """
    for top in range(0, len(high), _BAND):
        rows = high[top : top + _BAND]
        rest = low[top : top + _BAND].astype(np.int16) - rows
        rows += (rest > 128).astype(np.uint8)
        rows -= (rest < -128).astype(np.uint8)


def _load_16_bits(data: bytes, structure: Structure) -> Image.Image:
    first = PngImagePlugin.PngImageFile(io.BytesIO(data))
    info = first.info
    high, low = _two_bytes(data, first, structure)
    alpha = None
    if structure.transparency and structure.colour in (_GREY, _RGB):
        key = _key(structure)
        alpha = _keyed(high, [value >> 8 for value in key], low, [value & 255 for value in key])
    round_16_bits(high, low)
    image = Image.fromarray(high, "LA" if structure.colour == _GREY_ALPHA else None)
    image.info = {name: value for name, value in info.items() if name != "transparency"}
    if alpha is not None:
        image.putalpha(alpha)
    return image


def _two_bytes(data: bytes, image: PngImagePlugin.PngImageFile, structure: Structure) -> tuple[Pixels, Pixels]:
    """The high and the low bytes of all samples: (H, W) for grey, else (H, W, 2 to 4)."""
    if structure.colour == _GREY:
        deep = np.asarray(image)
        return (deep >> 8).astype(np.uint8), deep.astype(np.uint8)
    if structure.colour == _GREY_ALPHA:  # four bytes, which fit the four bands of one image
        _read_as(image, "RGBA")
        both = np.asarray(image)
        return both[:, :, ::2].copy(), both[:, :, 1::2]
    raw_mode = image.tile[0].args
    high = np.array(image)
    image.close()
    again = PngImagePlugin.PngImageFile(io.BytesIO(data))
    _read_as(again, _LOW_BYTES[str(raw_mode)])
    return high, np.asarray(again)


def _read_as(image: PngImagePlugin.PngImageFile, raw_mode: str) -> None:
    image.tile = [image.tile[0]._replace(args=raw_mode)]


def _key(structure: Structure) -> tuple[int, ...]:
    return struct.unpack(">H" if structure.colour == _GREY else ">HHH", structure.transparency)


def _keyed(high: Pixels, key: list[int], low: Pixels | None = None, low_key: list[int] | None = None) -> Image.Image:
    """Alpha that is 0 where the samples equal the key."""
    is_key = np.atleast_3d(high == np.array(key if high.ndim == 3 else key[0])).all(axis=2)
    if low is not None and low_key is not None:
        is_key &= np.atleast_3d(low == np.array(low_key if low.ndim == 3 else low_key[0])).all(axis=2)
    return Image.fromarray(np.where(is_key, 0, 255).astype(np.uint8))
