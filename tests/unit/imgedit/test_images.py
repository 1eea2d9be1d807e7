"""The door: what it lets in, as what, and what it refuses before decoding."""

from __future__ import annotations

import io
import struct
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageDraw

from imgedit.errors import ImageRejected, InvalidArgument
from imgedit.imaging import containers
from imgedit.imaging.images import Picture, open_mask, open_untrusted
from tests.hostile import behind_bare_marker, exif_block

NOISE = np.random.default_rng(7).integers(0, 256, (40, 60, 3), dtype=np.uint8)
ORIENTATIONS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def encoded(image: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def opened(image: Image.Image, format: str = "PNG", **options: object) -> Picture:
    return open_untrusted(encoded(image, format, **options), field="input_image")


@pytest.mark.parametrize(("format", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_pixels_pass_unchanged(format: str, options: dict[str, object]) -> None:
    picture = opened(Image.fromarray(NOISE), format, **options)
    assert np.array_equal(picture.rgb, NOISE)
    assert picture.alpha is None
    assert picture.size == (60, 40)


@pytest.mark.parametrize(("orientation", "turn"), ORIENTATIONS.items())
def test_every_exif_orientation_is_applied(orientation: int, turn: Image.Transpose | None) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(NOISE)
    expected = image if turn is None else image.transpose(turn)
    assert np.array_equal(opened(image, exif=exif).rgb, np.asarray(expected))


def test_alpha_is_kept_apart() -> None:
    alpha = np.tile(np.arange(60, dtype=np.uint8), (40, 1))
    picture = opened(Image.fromarray(np.dstack([NOISE, alpha])))
    assert picture.alpha is not None
    assert np.array_equal(picture.rgb, NOISE)
    assert np.array_equal(picture.alpha, alpha)


def test_models_see_alpha_over_white() -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    seen = Picture(NOISE, alpha).over_white()
    assert (seen[:, :30] == 255).all()
    assert np.array_equal(seen[:, 30:], NOISE[:, 30:])


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK"])
def test_modes_without_alpha_become_rgb(mode: str) -> None:
    image = Image.fromarray(NOISE).convert(mode)
    picture = opened(image, "JPEG" if mode == "CMYK" else "PNG")
    assert picture.rgb.shape == (40, 60, 3)
    assert picture.alpha is None
    if mode != "CMYK":
        assert np.array_equal(picture.rgb, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["LA", "PA", "RGBA"])
def test_modes_with_alpha_become_rgba(mode: str) -> None:
    image = Image.fromarray(NOISE).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((60, 40)))
    data = encoded(image.convert(mode) if mode != "PA" else image.quantize(), "PNG")
    assert open_untrusted(data, field="input_image").alpha is not None


def test_a_transparent_palette_entry_becomes_alpha() -> None:
    image = Image.fromarray(NOISE).quantize(8)
    picture = opened(image, transparency=3)
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha == 0, np.asarray(image) == 3)


def test_sixteen_bit_grey_is_rounded_to_the_nearest_level() -> None:
    deep = np.linspace(0, 65535, 60 * 40).astype(np.uint16).reshape(40, 60)
    picture = opened(Image.fromarray(deep))
    assert np.array_equal(picture.rgb[:, :, 0], np.rint(deep / 257).astype(np.uint8))


def test_a_colour_profile_is_converted_to_srgb() -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.fromarray(NOISE)
    assert np.array_equal(opened(image, icc_profile=srgb).rgb, NOISE)
    assert np.array_equal(opened(image, icc_profile=b"no profile at all").rgb, NOISE)
    # The same profile under another name, with the red and green primaries exchanged: reds are stored as greens.
    swapped = srgb.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    swapped = swapped.replace(b"rXYZ", b"____").replace(b"gXYZ", b"rXYZ").replace(b"____", b"gXYZ")
    seen = opened(image, icc_profile=swapped).rgb.astype(int)
    assert np.abs(seen - NOISE[:, :, [1, 0, 2]]).max() <= 2


def test_a_huge_header_is_refused_before_decoding() -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", 5001, 5000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    started = time.perf_counter()
    with pytest.raises(ImageRejected, match="25 megapixels"):
        open_untrusted(data, field="input_image")
    assert time.perf_counter() - started < 0.2


def test_the_pixel_limit_is_a_setting() -> None:
    data = encoded(Image.fromarray(NOISE))
    assert open_untrusted(data, field="x", max_pixels=2400).size == (60, 40)
    with pytest.raises(ImageRejected):
        open_untrusted(data, field="x", max_pixels=2399)


@pytest.mark.parametrize("cut", range(0, 100, 7))
def test_a_truncated_file_is_refused_wherever_it_is_cut(cut: int) -> None:
    for format in ("PNG", "JPEG", "WEBP"):
        data = encoded(Image.fromarray(NOISE), format)
        with pytest.raises(ImageRejected) as caught:
            open_untrusted(data[: len(data) * cut // 100], field="mask_image")
        assert caught.value.violations[0].field == "mask_image"


def test_random_damage_is_refused_or_read_but_never_raises_anything_else() -> None:
    rng = np.random.default_rng(11)
    for format in ("PNG", "JPEG", "WEBP"):
        good = encoded(Image.fromarray(NOISE), format)
        for _ in range(200):
            data = bytearray(good)
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(0, 256)
            with suppress(ImageRejected):
                assert open_untrusted(bytes(data), field="input_image").rgb.dtype == np.uint8


def test_a_mask_is_white_where_it_repaints() -> None:
    grey = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    mask = open_mask(encoded(Image.fromarray(grey)), field="mask_image", size=(60, 40))
    assert np.array_equal(mask, grey)


def test_a_mask_with_alpha_is_transparent_where_it_repaints() -> None:
    alpha = np.tile(np.arange(0, 240, 4, dtype=np.uint8), (40, 1))
    mask = open_mask(encoded(Image.fromarray(np.dstack([NOISE, alpha]))), field="mask_image", size=(60, 40))
    assert np.array_equal(mask, 255 - alpha)


def test_a_mask_with_an_opaque_alpha_channel_is_read_by_its_colour() -> None:
    white = np.zeros((40, 60, 4), np.uint8)
    white[:, :20, :3], white[:, :, 3] = 255, 255
    mask = open_mask(encoded(Image.fromarray(white)), field="mask_image", size=(60, 40))
    assert (mask[:, :20] == 255).all()
    assert (mask[:, 20:] == 0).all()


def drawn_mask() -> np.ndarray:
    """Black with a white box, opaque, (60, 80, 4)."""
    rgba = np.zeros((60, 80, 4), np.uint8)
    rgba[20:40, 30:60, :3], rgba[:, :, 3] = 255, 255
    return rgba


@pytest.mark.parametrize("alpha", [254, 200, 130])
@pytest.mark.parametrize("place", [(0, 0), (30, 40), (slice(None), 0), (slice(None), slice(None))])
def test_a_drawn_mask_counts_whatever_an_editor_left_in_its_alpha(alpha: int, place: tuple[int, int]) -> None:
    rgba = drawn_mask()
    rgba[place][..., 3] = alpha
    mask = open_mask(encoded(Image.fromarray(rgba)), field="mask_image", size=(80, 60))
    assert np.array_equal(mask, rgba[:, :, 0])


def test_a_speck_of_transparency_does_not_outvote_a_drawn_mask() -> None:
    rgba = drawn_mask()
    rgba[3, 5:7, 3] = 0
    mask = open_mask(encoded(Image.fromarray(rgba)), field="mask_image", size=(80, 60))
    assert np.array_equal(mask, rgba[:, :, 0])


def test_a_hole_in_a_drawn_mask_outvotes_it() -> None:
    rgba = drawn_mask()
    rgba[20:40, 30:60, 3] = 0
    mask = open_mask(encoded(Image.fromarray(rgba)), field="mask_image", size=(80, 60))
    assert np.array_equal(mask, 255 - rgba[:, :, 3])


@pytest.mark.parametrize("colour", [0, 128, 255])
def test_on_one_colour_every_alpha_is_the_mask(colour: int) -> None:
    rgba = np.full((60, 80, 4), colour, np.uint8)
    rgba[:, :, 3] = 255
    rgba[10, 10:20, 3] = 240
    mask = open_mask(encoded(Image.fromarray(rgba)), field="mask_image", size=(80, 60))
    assert np.array_equal(mask, 255 - rgba[:, :, 3])


@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {"quality": 85}), ("JPEG", {"quality": 95}), ("WEBP", {"quality": 80})]
)
def test_a_lossy_masks_black_is_black_and_its_white_white(format: str, options: dict[str, object]) -> None:
    mask = Image.new("L", (317, 243))
    ImageDraw.Draw(mask).ellipse((60, 40, 251, 197), fill=255)
    found = open_mask(encoded(mask, format, **options), field="mask_image", size=mask.size)
    assert (found[np.asarray(mask) == 0] == 0).all()
    assert (found[np.asarray(mask) == 255] == 255).all()


@pytest.mark.parametrize("options", [{"lossless": True}, {"format": "PNG"}])
def test_a_lossless_masks_faintest_grey_is_kept(options: dict[str, object]) -> None:
    grey = np.tile(np.arange(60, dtype=np.uint8), (40, 1))
    found = open_mask(encoded(Image.fromarray(grey), **{"format": "WEBP", **options}), field="m", size=(60, 40))  # type: ignore[arg-type]
    assert np.array_equal(found, grey)


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="60x40") as caught:
        open_mask(encoded(Image.fromarray(NOISE)), field="mask_image", size=(40, 60))
    assert caught.value.violations[0].field == "mask_image"


@pytest.mark.parametrize("marker", [b"\xff\x01", b"\xff\x00", b"\xff\xd0"])
def test_no_scan_hides_behind_a_marker_without_a_length(marker: bytes) -> None:
    header = containers.read_header(behind_bare_marker(marker))
    assert header is not None
    assert header.scans > 3000


def test_a_webp_is_decoded_with_its_profile_and_turn_and_without_the_rest() -> None:
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = encoded(Image.fromarray(NOISE), "WEBP", lossless=True, icc_profile=grey, exif=exif_block(6), xmp=b"x" * 999)
    header = containers.read_header(data)
    assert header is not None
    essence = header.essence(data)
    with Image.open(io.BytesIO(essence)) as image:
        assert image.info["icc_profile"] == grey
        assert not {"exif", "xmp"} & set(image.info)
    assert len(essence) < len(data) - 999
    assert open_untrusted(data, field="x").size == (40, 60)
