"""Images for the page: checked on input, reduced for display.

Browser uploads pass `imgedit.imaging.images`, the only entry for untrusted bytes, in a process of
`imgedit.imaging.decode_process`. The server's images are trusted.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from imgedit.errors import ImageRejected, ImgeditError
from imgedit.imaging import containers, encoding, images, photos
from imgedit.imaging.containers import Header
from imgedit.imaging.decode_pool import Decoders

VIEW_SIDE = 1280
"""Longest side of what is shown, in pixels."""
THUMB_SIDE = 224

RED = "#e11d48"
"""The colour of the area to repaint, also in the brush."""

_QUALITY = 86
_CHECK = 12

DECODE_SECONDS = 10.0
"""Processor time that decoding one picture may take, as at the API."""
MAX_FILE_BYTES = 31 * 1024 * 1024
"""Of a file that is sent: the API takes messages of 32 MiB."""

PATIENCE_SECONDS = 60.0
"""How long a picture may wait for its turn and be decoded."""
_DECODERS = Decoders(2, DECODE_SECONDS)

Margins = tuple[int, int, int, int]
"""Left, right, top, bottom, in pixels."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, from 0 to 1."""


@dataclass(frozen=True)
class InputImage:
    """An input.

    data: the uploaded or converted file. view, thumb: WebP files. width, height: after the EXIF rotation. reduced_from:
    the original size, if it was too large.
    """

    name: str
    data: bytes
    width: int
    height: int
    kind: str
    view: bytes
    thumb: bytes
    reduced_from: tuple[int, int] | None = None
    original: InputImage | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.width, self.height


def open_image(name: str, data: bytes, visit: Hashable = "") -> InputImage:
    """Check an uploaded file, and convert it if the API does not accept its kind.

    `visit`: its session, since sessions take turns. Raises `ImageRejected`; `QueueFull` or `ServiceUnavailable` if it
    cannot be checked now.
    """
    photo = None
    if photos.is_to_be_converted(data, max_bytes=MAX_FILE_BYTES):
        photo = _DECODERS.convert_in_thread(
            data, field="input_image", max_bytes=MAX_FILE_BYTES, caller=visit, patience=PATIENCE_SECONDS
        )
        data = photo.data
    decoded, header = _decoded(data, "input_image", visit)
    alpha = None if decoded.alpha is None else Image.fromarray(decoded.alpha)
    view = _on_checks(_fitted(Image.fromarray(decoded.rgb), VIEW_SIDE), alpha and _fitted(alpha, VIEW_SIDE))
    reduced_from = photo.original if photo and photo.original != photo.size else None
    kind = photo.kind if photo else header.format
    return InputImage(name, data, *decoded.size, kind, webp(view), webp(_fitted(view, THUMB_SIDE)), reduced_from)


def cropped(picture: InputImage, turns: int, box: Box, *, visit: Hashable = "") -> InputImage:
    """A part of an image, turned to the right by `turns` quarters.

    `box` is a part of the turned image. A photo stays a JPEG; a PNG that would be too large to send becomes one. Raises
    like `open_image`.
    """
    decoded, _ = _decoded(picture.data, "input_image", visit)
    height, width = np.rot90(decoded.rgb, -turns).shape[:2]
    columns = slice(round(box[0] * width), round(box[2] * width))
    rows = slice(round(box[1] * height), round(box[3] * height))
    rgb = np.ascontiguousarray(np.rot90(decoded.rgb, -turns)[rows, columns])
    alpha = None if decoded.alpha is None else np.ascontiguousarray(np.rot90(decoded.alpha, -turns)[rows, columns])
    if min(rgb.shape[:2]) < images.MIN_SIDE:
        size = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise ImageRejected.field(
            "input_image", f"the part is {size} px; each side must have at least {images.MIN_SIDE} px",
            korean=f"잘라 낸 부분이 너무 작습니다({size}). 각 변은 {images.MIN_SIDE}px 이상이어야 합니다.",
        )  # fmt: skip
    data = b"" if picture.kind == "JPEG" and alpha is None else encoding.encode_png(rgb, alpha)
    if not data or (alpha is None and len(data) > MAX_FILE_BYTES):
        data = encoding.encode_jpeg(images.Picture(rgb, None), encoding.DEFAULT_JPEG_QUALITY)
    return replace(open_image(picture.name, data, visit), original=picture.original or picture)


def samples(folder: Path) -> list[InputImage]:
    """The images of a folder by name; other files are skipped."""
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if path.is_file() and _is_picture(path):
                found.append(open_image(path.name, path.read_bytes()))
        except (ImgeditError, OSError):
            continue
    return found


def _is_picture(path: Path) -> bool:
    with path.open("rb") as file:
        return containers.is_picture(file.read(16))


def to_view(data: bytes) -> bytes:
    """The server's image as a WebP file for display, with transparency as checks."""
    with Image.open(io.BytesIO(data)) as image:
        fitted = _fitted(image.convert("RGBA") if image.has_transparency_data else image.convert("RGB"), VIEW_SIDE)
    return webp(_on_checks(fitted.convert("RGB"), fitted.getchannel("A") if fitted.mode == "RGBA" else None))


def thumb(view: bytes) -> bytes:
    """A small WebP file of a displayed image."""
    return reduced(view, THUMB_SIDE)


def reduced(view: bytes, side: int) -> bytes:
    """A displayed image within a square of `side` pixels."""
    return webp(_fitted(_read(view), side))


def webp(image: Image.Image) -> bytes:
    """A WebP file for display."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=_QUALITY, method=2)
    return buffer.getvalue()


def data_url(data: bytes, kind: str = "webp") -> str:
    """A file as a data URL for an <img>."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def in_frame(view: bytes, size: tuple[int, int], margins: Margins) -> bytes:
    """The original placed in the extended image, for comparison; margins are checks."""
    width, height = size[0] + margins[0] + margins[1], size[1] + margins[2] + margins[3]
    scale = min(1.0, VIEW_SIDE / max(width, height))
    frame = _checks((round(width * scale), round(height * scale)))
    inner = _read(view).resize((max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
    frame.paste(inner, (round(margins[0] * scale), round(margins[2] * scale)))
    return webp(frame)


def margins_drawn(view: bytes, size: tuple[int, int], margins: Margins, colour: str) -> bytes:
    """A preview of the margins: hatched, with a line around the image."""
    frame = _read(in_frame(view, size, margins))
    scale = frame.width / (size[0] + margins[0] + margins[1])
    left, top = round(margins[0] * scale), round(margins[2] * scale)
    inner = (left, top, left + round(size[0] * scale), top + round(size[1] * scale))
    hatched = Image.new("RGB", frame.size, "#f4f4f5")
    draw = ImageDraw.Draw(hatched)
    for start in range(-frame.height, frame.width, 14):
        draw.line((start, frame.height, start + frame.height, 0), fill="#c7c7d1", width=2)
    hatched.paste(frame.crop(inner), inner[:2])
    ImageDraw.Draw(hatched).rectangle((inner[0], inner[1], inner[2] - 1, inner[3] - 1), outline=colour, width=3)
    return webp(hatched)


def aspect_margins(size: tuple[int, int], aspect: str) -> Margins:
    """The margins for the aspect "W:H", split evenly and rounded as by the server."""
    across, down = (int(part) for part in aspect.split(":"))
    width = max(size[0], round(size[1] * across / down))
    height = max(size[1], round(size[0] * down / across))
    wide, high = width - size[0], height - size[1]
    return wide // 2, wide - wide // 2, high // 2, high - high // 2


def mask_over(view: bytes, mask: bytes, visit: Hashable = "") -> bytes:
    """The image with the masked region in red.

    Raises like `opened`.
    """
    judged, _ = _decoded(mask, "mask_image", visit)
    weight = Image.fromarray(images.mask_of(judged, field="mask_image", size=judged.size, is_lossy=False))
    return _reddened(_read(view), weight)


def reddened(view: bytes, mask: bytes | None) -> bytes:
    """The image with a server's mask in red; None = all of it."""
    picture = _read(view)
    return _reddened(picture, _grey(mask) if mask else Image.new("L", picture.size, 255))


def _reddened(picture: Image.Image, weight: Image.Image) -> bytes:
    red = Image.blend(picture, Image.new("RGB", picture.size, RED), 0.55)
    return webp(Image.composite(red, picture, weight.resize(picture.size)))


def layer(mask: bytes, side: int) -> bytes:
    """A server's mask as a layer for the brush: red, transparent where it is black."""
    weight = _fitted(_grey(mask), side)
    red = Image.new("RGB", weight.size, RED)
    red.putalpha(weight)
    buffer = io.BytesIO()
    red.save(buffer, "PNG")
    return buffer.getvalue()


def _grey(mask: bytes) -> Image.Image:
    with Image.open(io.BytesIO(mask)) as image:
        return image.convert("L")


def mask_at(drawn: bytes, size: tuple[int, int], *, max_side: int, visit: Hashable = "") -> bytes | None:
    """The brush's drawing as a mask of the image's size; None if nothing is painted.

    The brush works on a small view, so its edge is sharpened at full size. A view of a long image may be one pixel
    high, which no upload may be. Raises `ImageRejected` unless it is a PNG file of at most `max_side`; else like
    `opened`.
    """
    header = containers.read_header(drawn)
    if header is None or header.format != "PNG" or header.fault or max(header.width, header.height) > max_side:
        raise ImageRejected("mask_image: what the brush drew cannot be read; draw it again")
    judged = _DECODERS.decode_in_thread(drawn, header, field="mask_image", caller=visit, patience=PATIENCE_SECONDS)
    small = Image.fromarray(judged.rgb).convert("L")
    if np.asarray(small).max() < 128:
        return None
    large = small.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.BoxBlur(1))
    sharp = np.asarray(
        large.point([0] * 96 + [round((value - 96) * 255 / 64) for value in range(96, 160)] + [255] * 96)
    )
    return encoding.encode_png(np.ascontiguousarray(sharp))


def _decoded(data: bytes, field: str, visit: Hashable) -> tuple[images.Picture, Header]:
    return _DECODERS.open_in_thread(
        data, field=field, max_pixels=images.DEFAULT_MAX_PIXELS, caller=visit, patience=PATIENCE_SECONDS
    )


def _fitted(image: Image.Image, side: int) -> Image.Image:
    scale = side / max(image.size)
    if scale >= 1:
        return image.copy()
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _on_checks(image: Image.Image, alpha: Image.Image | None) -> Image.Image:
    return image if alpha is None else Image.composite(image, _checks(image.size), alpha)


def _checks(size: tuple[int, int]) -> Image.Image:
    rows, columns = np.arange(size[1])[:, None] // _CHECK, np.arange(size[0])[None] // _CHECK
    grey = np.where((rows + columns) % 2, 255, 232).astype(np.uint8)
    return Image.fromarray(np.repeat(grey[:, :, None], 3, axis=2))


def _read(view: bytes) -> Image.Image:
    return Image.open(io.BytesIO(view)).convert("RGB")
