"""Phone photos become files for the API; hostile and foreign ones are rejected."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgedit.errors import ImageRejected
from imgedit.imaging import images, photos
from imgedit.imaging.decode_pool import Decoders

pytestmark = pytest.mark.slow

HEIC = (Path(__file__).parents[2] / "data" / "photos" / "turned.heic").read_bytes()
"""64x48 px as stored, with a turn to the right: red grows to the right and green downwards before the turn."""

LIMIT = 31 * 2**20


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    kept = Decoders(1, 30.0)
    yield kept
    kept.close()


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def ramp(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    return Image.fromarray(
        np.dstack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 80)]).astype("u1")
    )


def bitmap(width: int, height: int) -> bytes:
    """The header of a BMP file, without pixels."""
    return struct.pack("<2sIIIIiiHHIIiiII", b"BM", 94, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + bytes(40)


def converted(decoders: Decoders, data: bytes, max_bytes: int = LIMIT) -> photos.Photo:
    return decoders.convert_in_thread(data, field="input_image", max_bytes=max_bytes, caller="a", patience=120)


def test_a_phones_photo_stands_upright_and_passes_the_door_of_the_api(decoders: Decoders) -> None:
    photo = converted(decoders, HEIC)
    assert (photo.kind, photo.size, photo.original) == ("HEIC", (48, 64), (48, 64))
    rgb = images.open_untrusted(photo.data, field="input_image").rgb
    assert rgb.shape == (64, 48, 3)
    assert rgb[-8:, :, 0].mean() > rgb[:8, :, 0].mean() + 100  # what was at the right is at the bottom
    assert rgb[:, :8, 1].mean() > rgb[:, -8:, 1].mean() + 100  # what was at the bottom is at the left


@pytest.mark.parametrize("format", ["AVIF", "BMP"])
def test_other_formats_keep_their_colours(decoders: Decoders, format: str) -> None:
    data = encoded(ramp(64, 48), format)
    assert photos.is_to_be_converted(data, max_bytes=LIMIT)
    photo = converted(decoders, data)
    assert photo.kind == format
    rgb = images.open_untrusted(photo.data, field="input_image").rgb.astype(int)
    assert np.abs(rgb - np.asarray(ramp(64, 48)).astype(int)).mean() < 4


def test_transparency_is_kept(decoders: Decoders) -> None:
    image = ramp(64, 48)
    image.putalpha(Image.fromarray(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))))
    picture = images.open_untrusted(converted(decoders, encoded(image, "AVIF")).data, field="input_image")
    assert picture.alpha is not None
    assert picture.alpha[:, :4].mean() < 20
    assert picture.alpha[:, -4:].mean() > 230


@pytest.mark.parametrize(("format", "size"), [("JPEG", (8000, 6000)), ("PNG", (6000, 5000)), ("JPEG", (20_000, 400))])
def test_what_is_over_the_limit_is_reduced_and_keeps_its_shape(
    decoders: Decoders, format: str, size: tuple[int, int]
) -> None:
    data = encoded(ramp(*size), format)
    assert photos.is_to_be_converted(data, max_bytes=LIMIT)
    photo = converted(decoders, data)
    width, height = photo.size
    assert photo.original == size
    assert width * height <= images.DEFAULT_MAX_PIXELS
    assert max(photo.size) <= images.MAX_SIDE
    assert width / height == pytest.approx(size[0] / size[1], rel=0.01)
    assert images.open_untrusted(photo.data, field="input_image").size == photo.size


def test_a_turned_jpeg_over_the_limit_is_reduced_upright(decoders: Decoders) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = converted(decoders, encoded(ramp(8000, 4000), "JPEG", exif=exif))
    assert photo.original == (4000, 8000)
    assert photo.size[0] < photo.size[1]


def test_a_file_of_too_many_bytes_is_encoded_smaller(decoders: Decoders) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (600, 800, 3), dtype=np.uint8))
    data = encoded(noise, "PNG")
    assert photos.is_to_be_converted(data, max_bytes=700_000)
    assert len(converted(decoders, data, max_bytes=700_000).data) <= 700_000


def test_what_the_api_takes_is_left_as_it_is() -> None:
    for format in ("PNG", "JPEG", "WEBP"):
        assert not photos.is_to_be_converted(encoded(ramp(64, 48), format), max_bytes=LIMIT)
    for data in (b"", b"GIF89a", b"\x00\x00\x00\x18ftypmp42", b"text"):
        assert not photos.is_to_be_converted(data, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (HEIC[:400], "damaged"),
        (HEIC[:16] + b"\xff" * 600, "damaged"),
        (b"BM" + b"\x00" * 60, "damaged"),
        (bitmap(30_000, 30_000), "at most 120"),
        (encoded(ramp(64, 8), "BMP"), "at least 16 px"),
    ],
    ids=["cut", "garbage", "empty", "huge", "small"],
)
def test_what_cannot_be_converted_is_refused_by_name_and_the_next_one_is_taken(
    decoders: Decoders, data: bytes, says: str
) -> None:
    with pytest.raises(ImageRejected, match=says) as caught:
        converted(decoders, data)
    assert caught.value.korean
    assert converted(decoders, HEIC).size == (48, 64)
