"""Image messages: raw and encoded pixels in, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from imgedit.errors import ImageRejected, InvalidArgument
from imgedit.inference.v1 import image_pb2
from services.common import image_messages

RGB = np.random.default_rng(5).integers(0, 256, (20, 30, 3), dtype=np.uint8)
LIMIT = 10_000


def raw(**changes: object) -> image_pb2.Image:
    message = image_messages.to_message(RGB)
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_raw_and_png_read_the_same() -> None:
    for message in (image_messages.to_message(RGB), image_messages.png_message(RGB)):
        assert np.array_equal(image_messages.read_rgb(message, field="image", max_pixels=LIMIT), RGB)
        assert np.array_equal(image_messages.decode_image(message), RGB)


def test_a_single_channel_travels_as_l8() -> None:
    mask = RGB[:, :, 0]
    message = image_messages.to_message(mask)
    assert message.encoding == image_pb2.ENCODING_RAW_L8
    assert np.array_equal(image_messages.read_mask(message, field="mask", size=(30, 20), max_pixels=LIMIT), mask)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 0}, "image.width"),
        ({"width": -5}, "image.width"),
        ({"height": 20_000}, "image.height"),
        ({"data": b"short"}, "image.data"),
        ({"width": 31}, "image.data"),
        ({"encoding": image_pb2.ENCODING_UNSPECIFIED}, "image.encoding"),
        ({"encoding": 99}, "image.encoding"),
    ],
)
def test_a_malformed_raw_picture_is_refused_by_field(changes: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        image_messages.read_rgb(raw(**changes), field="image", max_pixels=LIMIT)
    assert caught.value.violations[0].field == field


def test_raw_pixels_over_the_limit_are_refused() -> None:
    with pytest.raises(ImageRejected, match="over the 599"):
        image_messages.read_rgb(raw(), field="image", max_pixels=599)


def test_a_file_must_have_the_size_that_the_message_says() -> None:
    message = image_messages.png_message(RGB)
    message.width = 31
    with pytest.raises(InvalidArgument) as caught:
        image_messages.read_rgb(message, field="image", max_pixels=LIMIT)
    assert caught.value.violations[0].field == "image.width"


def test_a_mask_must_have_the_pictures_size() -> None:
    with pytest.raises(InvalidArgument, match="must be 20x30"):
        image_messages.read_mask(image_messages.to_message(RGB[:, :, 0]), field="mask", size=(20, 30), max_pixels=LIMIT)
