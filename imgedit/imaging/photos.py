"""Photos as phones and cameras make them, turned into files that the API takes.

HEIC, AVIF and BMP files, and PNG, JPEG and WebP files over the API's limits, become an upright sRGB JPEG (a PNG where
they are transparent) within them. `convert` decodes untrusted bytes: it runs in `imgedit.imaging.decode_process` only.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import AvifImagePlugin, BmpImagePlugin, Image, ImageFile, JpegImagePlugin

from imgedit.errors import ImageRejected
from imgedit.imaging import colour, containers, images
from imgedit.imaging.images import Pixels

MAX_PIXELS = 120_000_000
"""Of a file that is reduced. The largest cameras of phones have 108 and 200 megapixels, and save 50 or fewer."""

BYTES_PER_PIXEL = 12
"""Memory for decoding: libheif's planes of 16 bits, the result, and half a copy to reduce it."""

QUALITIES = (95, 88, 75)
"""Of the JPEG file, the first that stays below the limit of bytes."""

_BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), "HEIC"
)


@dataclass(frozen=True)
class Photo:
    """A converted file.

    size: (width, height); original: the uploaded file's size, upright; kind: its format.
    """

    data: bytes
    size: tuple[int, int]
    original: tuple[int, int]
    kind: str


def kind_of(data: bytes) -> str | None:
    """HEIC, AVIF or BMP; None for anything else."""
    if data[4:8] == b"ftyp":
        brands = [data[8:12], *(data[place : place + 4] for place in range(16, 64, 4))]
        found = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return "AVIF" if "AVIF" in found else next(iter(found), None)
    return "BMP" if data.startswith(b"BM") else None


def is_to_be_converted(data: bytes, *, max_bytes: int, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> bool:
    """Whether the API rejects the file's format or size, so that `convert` may help."""
    if kind_of(data):
        return True
    header = containers.read(data)
    if header is None:
        return False
    is_large = header.width * header.height > max_pixels or max(header.width, header.height) > images.MAX_SIDE
    return is_large or len(data) > max_bytes


def convert(data: bytes, *, field: str, max_bytes: int, max_pixels: int = images.DEFAULT_MAX_PIXELS) -> Photo:
    """Decode a file, reduce it to `max_pixels` and sides of 16,384 px, and encode it.

    Raises `ImageRejected`.
    """
    try:
        rgb, alpha, original, kind = _decoded(data, field, max_pixels)
    except ModuleNotFoundError:
        raise ImageRejected.field(
            field, "HEIC files cannot be read here: pi-heif is not installed; save it as JPEG",
            korean="이 서버에서는 HEIC 사진을 읽을 수 없습니다. JPG로 저장해서 올려 주세요.",
        ) from None  # fmt: skip
    except (*images.DECODE_ERRORS, Image.DecompressionBombError):
        raise ImageRejected.field(
            field, "the photo is damaged or cut off; save or send it again",
            korean="사진을 읽을 수 없습니다. 다시 저장하거나 JPG로 바꿔 올려 주세요.",
        ) from None  # fmt: skip
    size = _fitting((rgb.shape[1], rgb.shape[0]), max_pixels)
    rgb = images.resized(rgb, size, Image.Resampling.LANCZOS)
    if alpha is not None and int(alpha.min()) < 255:
        return Photo(_png(rgb, images.resized(alpha, size, Image.Resampling.LANCZOS)), size, original, kind)
    return Photo(_jpeg(rgb, max_bytes), size, original, kind)


def _decoded(data: bytes, field: str, max_pixels: int) -> tuple[Pixels, Pixels | None, tuple[int, int], str]:
    """Pixels, alpha, the file's own size upright, and its format."""
    kind = kind_of(data)
    if kind is None:
        return _own(data, field, max_pixels)
    image = _opened(data, kind)
    _judge(image.size, field)
    image.load()
    orientation = 1 if kind == "HEIC" else int(image.getexif().get(0x0112, 1))  # libheif has turned it already
    rgb, alpha = colour.upright(_plain(image), orientation if 1 <= orientation <= 8 else 1)
    return rgb, alpha, (rgb.shape[1], rgb.shape[0]), kind


def _own(data: bytes, field: str, max_pixels: int) -> tuple[Pixels, Pixels | None, tuple[int, int], str]:
    """Decode a file of an API format over the limits.

    A JPEG is decoded at a half, a quarter or an eighth of its size.
    """
    header = images.check(data, field=field, max_pixels=MAX_PIXELS, max_side=2 * images.MAX_SIDE)
    original = (header.width, header.height)
    if header.format == "JPEG":
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(header.essence(data)))
        scale = next((scale for scale in (1, 2, 4) if _pixels(original) / scale**2 <= 2 * max_pixels), 8)
        image.draft(None, (original[0] // scale, original[1] // scale))
        image.load()
        rgb, alpha = colour.upright(image, header.orientation)
    else:
        decoded = images.decode(data, header, field=field)
        rgb, alpha = decoded.rgb, decoded.alpha
    return rgb, alpha, original[::-1] if header.orientation >= 5 else original, header.format


def _opened(data: bytes, kind: str) -> ImageFile.ImageFile:
    if kind == "AVIF":
        return AvifImagePlugin.AvifImageFile(io.BytesIO(data))
    if kind == "BMP":
        return BmpImagePlugin.BmpImageFile(io.BytesIO(data))
    from pi_heif.as_plugin import HeifImageFile  # only the page's environment holds it

    image: ImageFile.ImageFile = HeifImageFile(io.BytesIO(data))
    return image


def _plain(image: Image.Image) -> Image.Image:
    """In a mode that `colour.upright` knows."""
    if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK"):
        return image
    return image.convert("RGBA" if "A" in image.mode or "a" in image.mode else "RGB")


def _judge(size: tuple[int, int], field: str) -> None:
    if _pixels(size) > MAX_PIXELS or max(size) > 2 * images.MAX_SIDE:
        raise ImageRejected.field(
            field, f"the photo is {size[0]}x{size[1]} px; at most {MAX_PIXELS / 1e6:g} megapixels can be reduced",
            korean=f"사진이 너무 큽니다({size[0]}x{size[1]}). "
            f"{MAX_PIXELS // 10_000:,}만 화소까지 줄여서 쓸 수 있습니다.",
        )  # fmt: skip
    if min(size) < images.MIN_SIDE:
        raise ImageRejected.field(
            field, f"the photo is {size[0]}x{size[1]} px; each side must have at least {images.MIN_SIDE} px",
            korean=f"이미지가 너무 작습니다({size[0]}x{size[1]}). 각 변은 {images.MIN_SIDE}px 이상이어야 합니다.",
        )  # fmt: skip


def _fitting(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape within the limits, no larger than it is."""
    scale = min(1.0, (max_pixels / _pixels(size)) ** 0.5, images.MAX_SIDE / max(size))
    return int(size[0] * scale), int(size[1] * scale)


def _pixels(size: tuple[int, int]) -> int:
    return size[0] * size[1]


def _jpeg(rgb: Pixels, max_bytes: int) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(rgb))
    for quality in QUALITIES:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
        if buffer.tell() <= max_bytes:
            break
    return buffer.getvalue()


def _png(rgb: Pixels, alpha: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.dstack([rgb, alpha])).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()
