"""Read a caller's pictures: files, file objects, PIL images, arrays.

Imports Pillow and NumPy only for a caller who passes their objects.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeGuard, Union

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

FAST_COMPRESSION = 1
"""Of PNG, 1 to 9: what is sent is read once."""

_SENT_AS_THEY_ARE = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
"""Modes of Pillow that PNG holds and the server reads."""


class BinaryFile(Protocol):
    """A file object that was opened in binary mode."""

    def read(self) -> bytes:
        """The rest of the file."""


ImageSource: TypeAlias = Union[bytes, str, Path, BinaryFile, "Image.Image", "np.ndarray[Any, Any]"]
"""A picture: the bytes of a PNG, JPEG or WebP file, its path, an open file, a PIL image, or an array.

An array is uint8 of shape (H, W), (H, W, 3) or (H, W, 4), RGB, or bool of shape (H, W), where True is white.
"""


def read_source(source: ImageSource, name: str) -> bytes:
    """The file that is sent for a picture; `name` is the option's, for errors.

    A PIL image keeps its colour profile and is turned as its EXIF orientation says, as the server turns a file.
    Raises OSError for a file that cannot be read, TypeError for other objects, ValueError for a PIL image or an
    open file that gives no data.
    """
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    if _is_pil(source):
        return _of_image(source, name)
    if hasattr(source, "__array_interface__"):
        return _of_array(source, name)
    if hasattr(source, "read"):
        return _of_file(source, name)
    raise TypeError(
        f"{name} must be the bytes or the path of a picture, a file opened in binary mode, a PIL.Image or a NumPy "
        f"array, is {type(source).__name__}"
    )


def several(name: str, pictures: Any) -> list[Any]:
    """The members of a list of pictures.

    Raises TypeError for one picture in place of a list.
    """
    check_several(name, pictures)
    return list(pictures)


def check_several(name: str, pictures: Any) -> None:
    """Raise TypeError for one picture in place of a list."""
    if isinstance(pictures, Mapping) or _is_one(pictures) or not hasattr(pictures, "__iter__"):
        raise TypeError(f"{name} must be a list of pictures, is {type(pictures).__name__}")


def _is_one(source: Any) -> bool:
    """Whether this is one picture, which may be iterable: a text, an array, a file."""
    is_data = isinstance(source, str | bytes | bytearray | memoryview | os.PathLike)
    # PIL images and arrays have the interface; their classes are asked because PIL copies the pixels for it.
    return is_data or hasattr(type(source), "__array_interface__") or hasattr(source, "read")


def _is_pil(source: Any) -> TypeGuard[Image.Image]:
    pillow = sys.modules.get("PIL.Image")  # if it was not imported, this is not one of its images
    return pillow is not None and isinstance(source, pillow.Image)


def _of_file(file: Any, name: str) -> bytes:
    try:
        data = file.read()
    except ValueError as error:  # it is closed
        raise ValueError(f"{name}: the file cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise TypeError(f"{name}: the file gives {type(data).__name__}; open it in binary mode, open(path, 'rb')")
    return data


def _of_image(image: Image.Image, name: str) -> bytes:
    from PIL import ImageOps

    try:
        turned = ImageOps.exif_transpose(image)
        turned.load()
    except Exception as error:  # Pillow's readers raise many kinds for a closed or truncated file
        raise ValueError(
            f"{name}: the PIL.Image cannot be read; its file is closed, truncated or damaged: {error}"
        ) from error
    profile = turned.info.get("icc_profile")
    if turned.mode not in _SENT_AS_THEY_ARE:
        if turned.mode in ("F", "I") or turned.mode.startswith("I;"):
            raise TypeError(
                f"{name}: a picture of mode {turned.mode!r} has no colours to send; convert it to 'L' or 'RGB'"
            )
        turned = turned.convert("RGBA" if turned.has_transparency_data else "RGB")
        profile = None  # of the colours that it had
    return _png(turned, profile)


def _of_array(array: Any, name: str) -> bytes:
    import numpy as np
    from PIL import Image

    pixels = np.asarray(array)
    if pixels.dtype == np.bool_ and pixels.ndim == 2:
        pixels = pixels.astype(np.uint8) * 255
    is_picture = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_picture or not pixels.size:
        raise TypeError(
            f"{name}: an array must be uint8 of shape (H, W), (H, W, 3) or (H, W, 4), or bool of shape (H, W); "
            f"it is {pixels.dtype} of shape {pixels.shape}"
        )
    return _png(Image.fromarray(pixels), None)


def _png(image: Image.Image, profile: bytes | None) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=FAST_COMPRESSION, icc_profile=profile)
    return file.getvalue()
