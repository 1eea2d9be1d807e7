"""The one door for untrusted picture bytes.

`open_untrusted` and `open_mask` judge bytes that a caller sent; nothing else in the project decodes such bytes. What
passes is 8-bit sRGB with the EXIF orientation applied. This module knows nothing of RPCs, models or stages.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from imgedit.errors import ImageRejected, InvalidArgument, Violation

FORMATS = ("PNG", "JPEG", "WEBP")
DEFAULT_MAX_PIXELS = 25_000_000
MIN_SIDE = 16
MAX_SIDE = 16_384

_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)
"""What Pillow raises on damaged files."""

_FOREIGN_MAGIC = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "SVG or XML",
}

_BAND = 256

_OWN_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")

Pixels = NDArray[np.uint8]

LOSSY_NOISE = 32
"""Levels by which JPEG at quality 75 moves black and white beside a hard edge, but for a few pixels in 100,000."""

_CLEANED: Pixels = np.rint(np.clip((np.arange(256) - LOSSY_NOISE) / (255 - 2 * LOSSY_NOISE), 0, 1) * 255).astype(
    np.uint8
)


@dataclass(frozen=True)
class Picture:
    """A decoded picture: `rgb` (H, W, 3) uint8 sRGB; `alpha` (H, W) uint8, or None where the file has none."""

    rgb: Pixels
    alpha: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.rgb.shape[:2]
        return width, height

    def over_white(self) -> Pixels:
        """(H, W, 3) uint8: the picture on a white ground, which is what the models see."""
        if self.alpha is None:
            return self.rgb
        return blend(self.rgb, np.full((1, 1, 3), 255, np.uint8), self.alpha[:, :, None])


def open_untrusted(data: bytes, *, field: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Decode a PNG, JPEG or WebP file that a caller sent.

    Size and frame count are checked before any pixel is decoded. Raises `ImageRejected`, which names `field`.
    """
    image = _to_srgb(_open_checked(data, field, max_pixels))
    if image.mode == "RGBA":
        pixels = np.asarray(image)
        return Picture(np.ascontiguousarray(pixels[:, :, :3]), np.ascontiguousarray(pixels[:, :, 3]))
    return Picture(np.array(image))


def open_mask(data: bytes, *, field: str, size: tuple[int, int], max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """Decode a caller's mask into (H, W) uint8, 255 = repaint.

    With an alpha channel that is not opaque everywhere, transparent = repaint; otherwise white = repaint. A lossy
    file's black and white are only nearly so, which would touch pixels that are to be kept: there 32 to 223 is
    stretched to 0 to 255.
    Raises `ImageRejected` for unreadable bytes and `InvalidArgument` for a mask that is not of `size` (width, height).
    """
    mask = open_untrusted(data, field=field, max_pixels=max_pixels)
    if mask.size != size:
        raise InvalidArgument.field(
            field,
            f"the mask is {mask.size[0]}x{mask.size[1]} px but the picture is {size[0]}x{size[1]} px (after its EXIF "
            "turn); send a mask of the picture's size",
            korean=f"마스크 크기({mask.size[0]}x{mask.size[1]})가 이미지 크기({size[0]}x{size[1]})와 다릅니다.",
        )
    if mask.alpha is not None and mask.alpha.min() < 255:
        return 255 - mask.alpha
    grey = np.array(Image.fromarray(mask.rgb).convert("L"))
    return _CLEANED.take(grey) if is_lossy(data) else grey


def is_lossy(data: bytes) -> bool:
    """Whether these bytes of a PNG, JPEG or WebP file hold colours that were rounded by a lossy codec."""
    if data.startswith(b"\xff\xd8\xff"):
        return True
    chunk = 12  # behind RIFF, size, WEBP
    while data[:4] == b"RIFF" and chunk + 8 <= len(data):
        if data[chunk : chunk + 4] in (b"VP8 ", b"VP8L"):
            return data[chunk : chunk + 4] == b"VP8 "
        chunk += 8 + (int.from_bytes(data[chunk + 4 : chunk + 8], "little") + 1) // 2 * 2
    return False


def blend(over: Pixels, under: Pixels, weight: Pixels) -> Pixels:
    """`over` where the weight is 255, exactly `under` where it is 0, rounded to nearest between.

    uint8 arrays of shapes that broadcast to that of `over`, whose first axis is rows. Bands of rows keep the 16-bit
    intermediates of a large picture small.
    """
    result = np.empty_like(over)
    for top in range(0, len(over), _BAND):
        rows = slice(top, top + _BAND)
        share = weight[rows].astype(np.uint16)
        below = under if len(under) == 1 else under[rows]
        result[rows] = (over[rows] * share + below * (255 - share) + 127) // 255
    return result


def resized(pixels: Pixels, size: tuple[int, int], resample: Image.Resampling) -> Pixels:
    """(H, W, 3) or (H, W) at `size` (width, height); the array itself where it has that size already."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, resample))


def _open_checked(data: bytes, field: str, max_pixels: int) -> Image.Image:
    """Sniff, check size and frames by the header, then decode and apply the EXIF turn."""
    if not data:
        raise _rejected(
            field, "the picture is empty; send the bytes of a PNG, JPEG or WebP file", "이미지가 비어 있습니다."
        )
    too_large = _rejected(
        field,
        f"the picture is over {max_pixels / 1e6:g} megapixels or a side is over {MAX_SIDE} px; make it smaller",
        f"이미지가 너무 큽니다({max_pixels / 1e6:g} 메가픽셀까지). 크기를 줄여 주세요.",
    )
    damaged = _rejected(field, "the picture is damaged or cut off; save or send it again")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        if _is_too_large_png(data, max_pixels):
            raise too_large from None
        if data.startswith(_OWN_MAGIC):
            raise damaged from None
        raise _rejected(field, f"not a PNG, JPEG or WebP file{_looks_like(data)}; convert it first") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_large from None
    except _DECODE_ERRORS:
        raise damaged from None
    width, height = image.size
    if width * height > max_pixels or max(width, height) > MAX_SIDE:
        raise too_large
    if min(width, height) < MIN_SIDE:
        raise _rejected(
            field,
            f"the picture is {width}x{height} px; each side must have {MIN_SIDE} to {MAX_SIDE} px",
            f"이미지가 너무 작습니다({width}x{height}). 각 변은 {MIN_SIDE}px 이상이어야 합니다.",
        )
    try:
        # An MPO is a JPEG still with a second picture (depth, gain map) behind it; the first frame is the photograph.
        if image.format != "MPO" and getattr(image, "n_frames", 1) != 1:
            raise _rejected(field, "the picture is animated; send a single frame", "움직이는 이미지는 쓸 수 없습니다.")
        image.load()
        return ImageOps.exif_transpose(image)
    except _DECODE_ERRORS:
        raise damaged from None


def _to_srgb(image: Image.Image) -> Image.Image:
    """RGB or RGBA, 8 bits per channel, in sRGB. An unreadable colour profile is taken for sRGB, as browsers do."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        image = Image.fromarray(np.clip(np.asarray(image), 0, 255).astype(np.uint8))
    profile = image.info.get("icc_profile")
    has_alpha = image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info
    target = "RGBA" if has_alpha else "RGB"
    if profile and image.mode in ("RGB", "RGBA", "CMYK"):
        image = _apply_profile(image, profile, target)
    return image if image.mode == target else image.convert(target)


def _apply_profile(image: Image.Image, profile: bytes, target: str) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        mode = image.mode if image.mode == "RGBA" else target
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=mode)
    except (ImageCms.PyCMSError, OSError):
        return image
    return image if converted is None else converted


def _is_too_large_png(data: bytes, max_pixels: int) -> bool:
    """Whether a PNG that Pillow could not open, since it ends after its header, says an unacceptable size there."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n") or len(data) < 24:
        return False
    width, height = struct.unpack(">II", data[16:24])
    return bool(width * height > max_pixels or max(width, height) > MAX_SIDE)


def _looks_like(data: bytes) -> str:
    name = next((name for magic, name in _FOREIGN_MAGIC.items() if data.startswith(magic)), None)
    return f" (it looks like {name})" if name else ""


def _rejected(field: str, description: str, korean: str | None = None) -> ImageRejected:
    return ImageRejected(f"{field}: {description}", korean=korean, violations=[Violation(field, description)])
