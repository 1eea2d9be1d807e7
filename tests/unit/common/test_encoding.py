"""Encoders: lossless where promised, and deterministic."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from imgedit.imaging.encoding import encode_jpeg, encode_png, encode_webp
from imgedit.imaging.images import Picture, Pixels

NOISE = np.random.default_rng(7).integers(0, 256, (300, 61, 3), dtype=np.uint8)
ALPHA = np.random.default_rng(8).integers(0, 256, (300, 61), dtype=np.uint8)


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize(
    ("rgb", "alpha", "mode"),
    [(NOISE, None, "RGB"), (NOISE, ALPHA, "RGBA"), (ALPHA, None, "L"), (NOISE[:1, :1], None, "RGB")],
)
def test_a_png_holds_exactly_the_pixels(rgb: Pixels, alpha: Pixels | None, mode: str) -> None:
    image = opened(encode_png(rgb, alpha))
    assert image.mode == mode
    assert np.array_equal(np.asarray(image), rgb if alpha is None else np.dstack([rgb, alpha]))


def test_a_png_of_a_view_holds_the_views_pixels() -> None:
    turned = NOISE.transpose(1, 0, 2)[:, ::-1]
    assert np.array_equal(np.asarray(opened(encode_png(turned))), turned)


def test_encoding_gives_the_same_bytes_every_time() -> None:
    picture = Picture(NOISE, ALPHA)
    for encode in (
        lambda: encode_png(NOISE, ALPHA),
        lambda: encode_jpeg(picture, 80),
        lambda: encode_webp(picture, None),
        lambda: encode_webp(picture, 80),
    ):
        assert encode() == encode()


def test_a_photograph_is_no_larger_than_by_pillows_fastest_level() -> None:
    ramp = np.linspace(0, 200, 256)[:, None] + np.linspace(0, 50, 256)[None, :]
    photo = (ramp[:, :, None] + np.random.default_rng(1).normal(0, 3, (256, 256, 3))).clip(0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "PNG", compress_level=1)
    assert len(encode_png(photo)) < 1.05 * len(buffer.getvalue())


def test_a_lossless_webp_keeps_the_colours_under_transparent_pixels() -> None:
    clear = np.zeros_like(ALPHA)
    assert np.array_equal(np.asarray(opened(encode_webp(Picture(NOISE, clear), None))), np.dstack([NOISE, clear]))


def test_a_jpeg_lies_on_white_at_full_colour_resolution() -> None:
    picture = Picture(np.zeros((64, 64, 3), np.uint8), np.zeros((64, 64), np.uint8))
    image = opened(encode_jpeg(picture, 95))
    assert (np.asarray(image) == 255).all()
    assert [component[1:3] for component in image.layer] == [(1, 1)] * 3  # type: ignore[attr-defined]


def test_quality_makes_a_lossy_file_smaller() -> None:
    picture = Picture(NOISE)
    assert len(encode_jpeg(picture, 30)) < len(encode_jpeg(picture, 95))
    assert len(encode_webp(picture, 30)) < len(encode_webp(picture, None))
