"""Pictures that callers have, as the file that is sent."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from imgedit.image_source import read_source, several

RGB = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    assert data.startswith(b"\x89PNG")
    return Image.open(io.BytesIO(data))


def test_a_file_is_sent_as_it_is_however_it_is_named(tmp_path: Path) -> None:
    data = encoded(Image.fromarray(RGB), "JPEG")
    path = tmp_path / "a.jpg"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [data, bytearray(data), memoryview(data), path, str(path), io.BytesIO(data), file]
        assert {read_source(source, "image") for source in sources} == {data}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_an_image_keeps_its_pixels(mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    sent = opened(read_source(image, "image"))
    assert np.array_equal(np.asarray(sent.convert("RGBA")), np.asarray(image.convert("RGBA")))


@pytest.mark.parametrize(("mode", "becomes"), [("CMYK", "RGB"), ("HSV", "RGB"), ("PA", "RGBA")])
def test_an_image_that_png_does_not_hold_is_converted(mode: str, becomes: str) -> None:
    image = Image.fromarray(RGB).convert("P").convert("PA") if mode == "PA" else Image.fromarray(RGB).convert(mode)
    assert opened(read_source(image, "image")).mode == becomes


def test_an_image_of_a_file_is_turned_as_the_file_would_be() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(Image.fromarray(RGB), exif=exif)))
    sent = opened(read_source(image, "image"))
    assert sent.size == (5, 7)
    assert np.array_equal(np.asarray(sent), np.asarray(ImageOps.exif_transpose(image)))
    assert sent.getexif().get(0x0112, 1) == 1


def test_an_image_keeps_its_colour_profile() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.open(io.BytesIO(encoded(Image.fromarray(RGB), icc_profile=profile)))
    assert opened(read_source(image, "image")).info["icc_profile"] == profile


@pytest.mark.parametrize(
    ("array", "pixels"),
    [
        (RGB, RGB),
        (RGB[:, ::-1], RGB[:, ::-1]),  # a view that is not contiguous
        (np.dstack([RGB, RGB[:, :, 0]]), np.dstack([RGB, RGB[:, :, 0]])),
        (RGB[:, :, 0], RGB[:, :, 0]),
        (RGB[:, :, 0] > 99, (RGB[:, :, 0] > 99) * np.uint8(255)),
    ],
    ids=["RGB", "view", "RGBA", "grey", "bool"],
)
def test_an_array_keeps_its_pixels(array: np.ndarray[Any, Any], pixels: np.ndarray[Any, Any]) -> None:
    assert np.array_equal(np.asarray(opened(read_source(array, "image"))), pixels)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (RGB / 255, r"mask: an array must be uint8 .* it is float64 of shape \(5, 7, 3\)"),
        (RGB[None], r"it is uint8 of shape \(1, 5, 7, 3\)"),
        (RGB[:, :, :2], r"of shape \(5, 7, 2\)"),
        (RGB[:0], r"of shape \(0, 7, 3\)"),
        (Image.new("F", (2, 2)), "mode 'F' .* convert it to 'L' or 'RGB'"),
        (io.StringIO("text"), "gives str; open it in binary mode"),
        (7, "mask must be the bytes or the path of a picture, .* is int"),
        (None, "is NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_by_the_options_name(source: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        read_source(source, "mask")


def closed_image() -> Image.Image:
    image = Image.open(io.BytesIO(encoded(Image.fromarray(RGB))))
    image.close()
    return image


def truncated_image() -> Image.Image:
    return Image.open(io.BytesIO(encoded(Image.new("RGB", (64, 64)), "JPEG")[:-20]))


def closed_file() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (closed_image, r"mask: the PIL\.Image cannot be read; its file is closed, truncated or damaged"),
        (truncated_image, r"mask: the PIL\.Image cannot be read; .*truncated"),
        (closed_file, "mask: the file cannot be read: I/O operation on closed file"),
    ],
)
def test_a_picture_that_gives_no_data_is_refused_by_the_options_name(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_source(make(), "mask")


@pytest.mark.parametrize(
    "one", ["a.jpg", b"x", Path("a.jpg"), io.BytesIO(b"x"), RGB, Image.fromarray(RGB), {"image": b"x"}, None, 3]
)
def test_one_picture_is_no_list_of_pictures(one: Any) -> None:
    with pytest.raises(TypeError, match=f"^references must be a list of pictures, is {type(one).__name__}$"):
        several("references", one)


def test_any_iterable_of_pictures_is_a_list() -> None:
    assert several("images", (name for name in ("a", "b"))) == several("images", ("a", "b")) == ["a", "b"]


def test_the_client_imports_neither_pillow_nor_numpy() -> None:
    code = "import imgedit, sys; assert not {'PIL', 'numpy', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
