"""`imgedit.inference.v1.Image` messages to arrays and back.

The boundary between proto types and pixels in every service.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image as PILImage

from imgedit.errors import ImageRejected, InvalidArgument, Violation
from imgedit.imaging import images
from imgedit.imaging.encoding import encode_png
from imgedit.imaging.images import Pixels
from imgedit.inference.v1 import image_pb2

_CHANNELS = {image_pb2.ENCODING_RAW_RGB8: 3, image_pb2.ENCODING_RAW_L8: 1}


def to_message(pixels: Pixels) -> image_pb2.Image:
    """(H, W, 3) → RAW_RGB8, (H, W) → RAW_L8."""
    height, width = pixels.shape[:2]
    encoding = image_pb2.ENCODING_RAW_RGB8 if pixels.ndim == 3 else image_pb2.ENCODING_RAW_L8
    return image_pb2.Image(data=pixels.tobytes(), encoding=encoding, width=width, height=height)


def png_message(rgb: Pixels, alpha: Pixels | None = None) -> image_pb2.Image:
    """A PNG of (H, W, 3), with `alpha` (H, W) where given."""
    height, width = rgb.shape[:2]
    data = encode_png(rgb, alpha)
    return image_pb2.Image(data=data, encoding=image_pb2.ENCODING_PNG, width=width, height=height)


def read_rgb(message: image_pb2.Image, *, field: str, max_pixels: int) -> Pixels:
    """(H, W, 3) uint8 of any encoding; alpha is laid on white.

    Raises `ImageRejected` or `InvalidArgument`.
    """
    if message.encoding in _CHANNELS:
        pixels = _read_raw(message, field, max_pixels)
        return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    return _read_file(message, field, max_pixels).over_white()


def read_mask(message: image_pb2.Image, *, field: str, size: tuple[int, int], max_pixels: int) -> Pixels:
    """(H, W) uint8 of any encoding; it must be of `size` (width, height).

    Raises as `read_rgb` does.
    """
    if message.encoding in _CHANNELS:
        pixels = _read_raw(message, field, max_pixels)
        mask = pixels if pixels.ndim == 2 else np.array(PILImage.fromarray(pixels).convert("L"))
        if mask.shape != (size[1], size[0]):
            raise InvalidArgument.field(field, f"must be {size[0]}x{size[1]} px, is {mask.shape[1]}x{mask.shape[0]}")
        return mask
    _check_encoding(message, field)
    return images.open_mask(message.data, field=field, size=size, max_pixels=max_pixels)


def decode_answer(message: image_pb2.Image) -> Pixels:
    """Pixels from a response of another service.

    (H, W, 3) or (H, W) for RAW, (H, W, 3 or 4) for a PNG.
    """
    if message.encoding in _CHANNELS:
        return _read_raw(message, "image", images.MAX_SIDE * images.MAX_SIDE)
    return np.asarray(PILImage.open(BytesIO(message.data), formats=("PNG",)))


def _read_raw(message: image_pb2.Image, field: str, max_pixels: int) -> Pixels:
    channels, width, height = _CHANNELS[message.encoding], message.width, message.height
    for name, side in (("width", width), ("height", height)):
        if not images.MIN_SIDE <= side <= images.MAX_SIDE:
            raise InvalidArgument.field(
                f"{field}.{name}", f"must be {images.MIN_SIDE} to {images.MAX_SIDE} for raw pixels, is {side}"
            )
    if width * height > max_pixels:
        description = f"{width}x{height} px is over the {max_pixels} pixels that this service accepts"
        raise ImageRejected(f"{field}: {description}", violations=[Violation(field, description)])
    expected = width * height * channels
    if len(message.data) != expected:
        raise InvalidArgument.field(
            f"{field}.data",
            f"{width}x{height} px need {expected} bytes in this encoding, there are {len(message.data)}",
        )
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.frombuffer(message.data, np.uint8).reshape(shape)


def _read_file(message: image_pb2.Image, field: str, max_pixels: int) -> images.Picture:
    _check_encoding(message, field)
    picture = images.open_untrusted(message.data, field=field, max_pixels=max_pixels)
    width, height = picture.size
    for name, said, found in (("width", message.width, width), ("height", message.height, height)):
        if said not in (0, found):
            raise InvalidArgument.field(f"{field}.{name}", f"is said to be {said} but the file has {found}")
    return picture


def _check_encoding(message: image_pb2.Image, field: str) -> None:
    if message.encoding not in (image_pb2.ENCODING_PNG, image_pb2.ENCODING_JPEG, image_pb2.ENCODING_WEBP):
        raise InvalidArgument.field(f"{field}.encoding", "must be PNG, JPEG, WEBP, RAW_RGB8 or RAW_L8")
