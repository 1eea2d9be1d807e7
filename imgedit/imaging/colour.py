"""Convert a decoder's output to upright 8-bit sRGB.

Handles colour profiles, CMYK, palettes, alpha and EXIF orientation. Works in bands of rows, so that a large image is
held once by the decoder and once as the result. Accepts the modes of Pillow's JPEG and WebP decoders and of
`imgedit.imaging.png_samples`.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Pixels = NDArray[np.uint8]
Colours = Callable[[Image.Image], Image.Image]
"""Takes a band without alpha and gives it as sRGB, mode RGB."""

_BAND = 256
_SPACES = {"L": ("GRAY", "RGB "), "RGB": ("RGB ",), "CMYK": ("CMYK",)}
"""The colour spaces of a profile that fits a mode, the first as it is, another after a conversion to RGB."""


def upright(image: Image.Image, orientation: int) -> tuple[Pixels, Pixels | None]:
    """A decoded image as (H, W, 3) and its alpha (H, W), or None without alpha."""
    has_alpha = image.mode in ("RGBA", "LA") or "transparency" in image.info
    width, height = image.size
    rgb = _blank((height, width, 3), orientation)
    alpha = _blank((height, width), orientation) if has_alpha else None
    colours = _colours_of(image)
    for top in range(0, height, _BAND):
        rows = slice(top, min(top + _BAND, height))
        band = image.crop((0, rows.start, width, rows.stop))
        if band.mode == "P":
            band = band.convert("RGBA" if has_alpha else "RGB")
        if alpha is not None:
            _stored(alpha, orientation)[rows] = np.asarray(band.getchannel("A"))
            band = band.convert(band.mode[:-1])
        _stored(rgb, orientation)[rows] = np.asarray(colours(band))
    return rgb, alpha


def _blank(shape: tuple[int, ...], orientation: int) -> Pixels:
    """A buffer for an image stored as `shape` and rotated by `orientation`."""
    turned = (shape[1], shape[0], *shape[2:]) if orientation >= 5 else shape
    return np.empty(turned, np.uint8)


def _stored(upright: Pixels, orientation: int) -> Pixels:
    """A view of an upright image in the file's row and column order."""
    view = upright.swapaxes(0, 1) if orientation >= 5 else upright
    if orientation in (3, 4, 6, 7):
        view = view[::-1]
    if orientation in (2, 3, 7, 8):
        view = view[:, ::-1]
    return view


def _colours_of(image: Image.Image) -> Colours:
    """Convert by the colour profile.

    An unreadable or mismatched profile counts as sRGB, as in browsers.
    """
    mode = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    profile = image.info.get("icc_profile")
    if not profile:
        return _plainly
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        space = source.profile.xcolor_space
        if space not in _SPACES[mode]:
            return _plainly
        mode = "L" if space == "GRAY" else space.strip()
        # Little CMS's shortcut for grey is up to 10 levels off in the shadows.
        flags = ImageCms.Flags.NOOPTIMIZE if mode == "L" else ImageCms.Flags.NONE
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB", flags=flags)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return _plainly
    if mode == "RGB" and _is_identity(transform):
        return _plainly
    return lambda band: _transformed(transform, band if band.mode == mode else band.convert(mode))


def _plainly(band: Image.Image) -> Image.Image:
    return band if band.mode == "RGB" else band.convert("RGB")


def _transformed(transform: ImageCms.ImageCmsTransform, band: Image.Image) -> Image.Image:
    return ImageCms.applyTransform(band, transform) or band


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a transform changes colours only by rounding: the profile is sRGB."""
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(18, -1, 3)
    seen = np.asarray(_transformed(transform, Image.fromarray(cube)))
    return bool(np.abs(seen.astype(int) - cube).max() <= 1)
