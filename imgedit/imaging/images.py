"""The only entry point for untrusted image bytes.

`open_untrusted` and `open_mask` check bytes from a caller; no other code does. `check` tests size, frames and container
before any decoder sees the file. The result is 8-bit sRGB with the EXIF orientation applied.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, WebPImagePlugin

from imgedit.errors import ImageRejected, InvalidArgument
from imgedit.imaging import colour, containers, png_samples
from imgedit.imaging.containers import Header

Pixels = NDArray[np.uint8]

DEFAULT_MAX_PIXELS = 25_000_000
MIN_SIDE = 16
MAX_SIDE = 16_384

MAX_SCANNED_PIXELS = 500_000_000
"""Pixels times scans of a JPEG: 20 scans at 25 megapixels. Encoders make about 10 in a progressive file and at most 4
in another; a file of 100 KB can hold thousands, each of which costs the decoder a pass over the whole picture."""

MAX_PROFILE_BYTES = 8 * 1024 * 1024
"""Of a colour profile. Those of presses have up to 5 MiB."""

_CHECKED_STREAM = 32_000_000
"""Bytes of decoded PNG from which the stream is inflated once before it is decoded: a fault is then found in a tenth
of the time and in constant memory."""

DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError, struct.error, zlib.error)
"""Pillow's exceptions for damaged files."""

_DECODERS: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}
"""Besides PNG. Named here, since `Image.open` may take a JPEG for something else (MPO) and warns of what it finds."""

_FOREIGN_MAGIC = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"<?xml": "SVG or XML",
    b"<!DOCTYPE": "HTML",
    b"<html": "HTML",
    b"\x00\x00\x01\x00": "an icon",
    b"8BPS": "PSD",
    b"PK\x03\x04": "a ZIP archive",
}

_OWN_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")

_BAND = 256

LOSSY_NOISE = 32
"""Levels by which JPEG at quality 75 moves black and white beside a hard edge, but for a few pixels in 100,000."""

STRAY = 0.0005
"""Part of a mask's pixels: of 12 megapixels 6,000."""

_CLEANED: Pixels = np.rint(np.clip((np.arange(256) - LOSSY_NOISE) / (255 - 2 * LOSSY_NOISE), 0, 1) * 255).astype(
    np.uint8
)


@dataclass(frozen=True)
class Picture:
    """A decoded image: `rgb` (H, W, 3) uint8 sRGB.

    `alpha` (H, W) uint8, or None.
    """

    rgb: Pixels
    alpha: Pixels | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        height, width = self.rgb.shape[:2]
        return width, height

    def over_white(self) -> Pixels:
        """(H, W, 3) uint8: the image on white, as the models see it."""
        if self.alpha is None:
            return self.rgb
        return blend(self.rgb, np.full((1, 1, 3), 255, np.uint8), self.alpha[:, :, None])


def open_untrusted(data: bytes, *, field: str, max_pixels: int = DEFAULT_MAX_PIXELS) -> Picture:
    """Check and decode a PNG, JPEG or WebP file from a caller.

    Raises `ImageRejected`, which names `field`.
    """
    return decode(data, check(data, field=field, max_pixels=max_pixels), field=field)


def check(data: bytes, *, field: str, max_pixels: int = DEFAULT_MAX_PIXELS, max_side: int = MAX_SIDE) -> Header:
    """Check a file by its container, before any decoder sees it.

    Raises `ImageRejected`, which names `field`. Takes milliseconds and almost no memory, whatever the file.
    """
    if not data:
        raise ImageRejected.field(
            field, "the picture is empty; send the bytes of a PNG, JPEG or WebP file", korean="이미지가 비어 있습니다."
        )
    header = containers.read(data)
    if header is None:
        if data.startswith(_OWN_MAGIC):
            raise _damaged(field)
        raise ImageRejected.field(field, f"not a PNG, JPEG or WebP file{_looks_like(data)}; convert it first")
    width, height = header.width, header.height
    if width * height > max_pixels or max(width, height) > max_side:
        raise ImageRejected.field(
            field,
            f"the picture is over {max_pixels / 1e6:g} megapixels or a side is over {max_side} px; make it smaller",
            korean=f"이미지가 너무 큽니다({max_pixels / 1e6:g} 메가픽셀까지). 크기를 줄여 주세요.",
        )
    if min(width, height) < MIN_SIDE:
        raise ImageRejected.field(
            field,
            f"the picture is {width}x{height} px; each side must have {MIN_SIDE} to {MAX_SIDE} px",
            korean=f"이미지가 너무 작습니다({width}x{height}). 각 변은 {MIN_SIDE}px 이상이어야 합니다.",
        )
    if header.is_animated:
        raise ImageRejected.field(
            field, "the picture is animated; send a single frame", korean="움직이는 이미지는 쓸 수 없습니다."
        )
    if header.fault is not None:
        raise _damaged(field, header.fault)
    if header.scans * width * height > MAX_SCANNED_PIXELS:
        raise ImageRejected.field(
            field,
            f"the JPEG has {header.scans} scans, too many for its size; save it again as a PNG or baseline JPEG",
            korean=f"JPG의 스캔이 {header.scans}개로 너무 많습니다. 일반 PNG나 JPG로 다시 저장해 주세요.",
        )
    if header.profile_bytes > MAX_PROFILE_BYTES:
        size, limit = header.profile_bytes / 2**20, MAX_PROFILE_BYTES / 2**20
        raise ImageRejected.field(
            field,
            f"the picture's colour profile has {size:.1f} MiB, at most {limit:g} MiB are accepted; convert it to sRGB",
            korean=f"이미지의 색상 프로파일이 {size:.1f} MiB로 너무 큽니다({limit:g} MiB까지). "
            "sRGB로 변환해 저장해 주세요.",
        )
    return header


def decode(data: bytes, header: Header, *, field: str) -> Picture:
    """The pixels of a file that passed `check`.

    Raises `ImageRejected`, which names `field`.
    """
    try:
        return Picture(*colour.upright(_loaded(data, header), header.orientation))
    except DECODE_ERRORS:
        raise _damaged(field) from None


def open_mask(data: bytes, *, field: str, size: tuple[int, int], max_pixels: int = DEFAULT_MAX_PIXELS) -> Pixels:
    """Decode a caller's mask into (H, W) uint8, 255 = repaint.

    With an alpha channel that is not opaque everywhere, transparent = repaint; otherwise white = repaint. In a mask
    drawn in black and white, holes smaller than `STRAY` are ignored: an editor left them. Lossy files are
    contrast-stretched (32–223 → 0–255), because their black and white are inexact. Raises `ImageRejected` for
    unreadable bytes and `InvalidArgument` for a mask that is not of `size` (width, height).
    """
    mask = open_untrusted(data, field=field, max_pixels=max_pixels)
    return mask_of(mask, field=field, size=size, is_lossy=containers.is_lossy(data))


def mask_of(mask: Picture, *, field: str, size: tuple[int, int], is_lossy: bool) -> Pixels:
    """The second half of `open_mask`, for a decoded file.

    Raises `InvalidArgument`.
    """
    if mask.size != size:
        raise InvalidArgument.field(
            field,
            f"the mask is {mask.size[0]}x{mask.size[1]} px but the picture is {size[0]}x{size[1]} px (after its EXIF "
            "turn); send a mask of the picture's size",
            korean=f"마스크 크기({mask.size[0]}x{mask.size[1]})가 이미지 크기({size[0]}x{size[1]})와 다릅니다.",
        )
    grey = np.array(Image.fromarray(mask.rgb).convert("L"))
    if mask.alpha is not None and mask.alpha.min() < 255 and not _is_drawn(mask, mask.alpha, grey):
        return 255 - mask.alpha
    return _CLEANED.take(grey) if is_lossy else grey


def _is_drawn(mask: Picture, alpha: Pixels, grey: Pixels) -> bool:
    """Whether black and white are the mask, despite an alpha channel.

    Then alpha has almost no holes, and both colours occur.
    """
    if np.count_nonzero(alpha < 128) > STRAY * alpha.size:
        return False
    is_colourless = int(np.ptp(mask.rgb, axis=2).max()) <= LOSSY_NOISE
    return is_colourless and grey.min() <= LOSSY_NOISE and grey.max() >= 255 - LOSSY_NOISE


def blend(over: Pixels, under: Pixels, weight: Pixels) -> Pixels:
    """`over` where the alpha is 255, exactly `under` where it is 0, rounded between.

    uint8 arrays of shapes that broadcast to that of `over`, whose first axis is rows. Bands of rows keep the 16-bit
    intermediates small.
    """
    result = np.empty_like(over)
    for top in range(0, len(over), _BAND):
        rows = slice(top, top + _BAND)
        share = weight[rows].astype(np.uint16)
        below = under if len(under) == 1 else under[rows]
        result[rows] = (over[rows] * share + below * (255 - share) + 127) // 255
    return result


def resized(pixels: Pixels, size: tuple[int, int], resample: Image.Resampling) -> Pixels:
    """(H, W, 3) or (H, W) at `size` (width, height).

    The array itself if it has that size.
    """
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, resample))


def _loaded(data: bytes, header: Header) -> Image.Image:
    essence = header.essence(data)
    if header.png is None:
        image = _DECODERS[header.format](io.BytesIO(essence))
        if image.size != (header.width, header.height):
            raise ValueError("the decoder sees another size than was judged")
        image.load()
        return image
    is_large = header.png.row_bytes * header.png.height > _CHECKED_STREAM
    if is_large and not header.png.is_interlaced and not header.png.is_stream_whole(data):
        raise ValueError("the stream ends early or is damaged")
    return png_samples.load(essence, header.png)


def _looks_like(data: bytes) -> str:
    name = next((name for magic, name in _FOREIGN_MAGIC.items() if data.startswith(magic)), None)
    if data[4:8] == b"ftyp":
        name = "HEIC, AVIF or a video"
    return f" (it looks like {name})" if name else ""


def _damaged(field: str, why: str = "") -> ImageRejected:
    return ImageRejected.field(
        field, f"the picture is damaged or cut off{f': {why}' if why else ''}; save or send it again"
    )
