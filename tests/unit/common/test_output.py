"""Output options: accepted values, rejections by name, and defaults."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from PIL import Image

from imgedit.errors import InvalidArgument, RequestTooLarge
from imgedit.imaging.images import Picture
from imgedit.v1 import edit_pb2
from services.orchestrator.request import output
from services.orchestrator.request.output import Files, Output, SharedFiles

RGB = np.random.default_rng(3).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def resolved(**options: object) -> Output:
    return output.resolve_output(edit_pb2.EditRequest(output=edit_pb2.OutputOptions(**options)))


def test_unset_means_a_png_and_all_pictures() -> None:
    assert output.resolve_output(edit_pb2.EditRequest()) == Output("PNG", None, cutout=True, mask=True)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"format": "OUTPUT_FORMAT_PNG"}, Output("PNG", None)),
        ({"format": "OUTPUT_FORMAT_JPEG"}, Output("JPEG", 95)),
        ({"format": "OUTPUT_FORMAT_JPEG", "quality": 1}, Output("JPEG", 1)),
        ({"format": "OUTPUT_FORMAT_WEBP"}, Output("WEBP", None)),
        ({"format": "OUTPUT_FORMAT_WEBP", "quality": 100}, Output("WEBP", 100)),
        ({"omit": ["OUTPUT_OMIT_MASK"]}, Output(mask=False)),
        ({"omit": ["OUTPUT_OMIT_CUTOUT"] * 2}, Output(cutout=False)),
    ],
)
def test_options_are_taken_and_shown_as_used(options: dict[str, object], expected: Output) -> None:
    found = resolved(**options)
    assert found == expected
    assert output.resolve_output(edit_pb2.EditRequest(output=found.message)) == expected


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"format": 9}, "output.format"),
        ({"quality": 90}, "output.quality"),
        ({"format": "OUTPUT_FORMAT_PNG", "quality": 90}, "output.quality"),
        ({"format": "OUTPUT_FORMAT_JPEG", "quality": 0}, "output.quality"),
        ({"format": "OUTPUT_FORMAT_WEBP", "quality": 101}, "output.quality"),
        ({"omit": ["OUTPUT_OMIT_MASK", "OUTPUT_OMIT_UNSPECIFIED"]}, "output.omit[1]"),
        ({"omit": [7]}, "output.omit[0]"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(options: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        resolved(**options)  # type: ignore[arg-type]
    assert [violation.field for violation in caught.value.violations] == [field]


def test_webp_refuses_a_side_that_it_cannot_hold() -> None:
    Output("PNG").check_size((16_384, 16))
    Output("WEBP").check_size((16_383, 16))
    with pytest.raises(InvalidArgument, match="16384x16"):
        Output("WEBP").check_size((16_384, 16))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
async def test_the_files_hold_what_was_wanted_and_no_more(format: output.Format) -> None:
    quality = 95 if format == "JPEG" else None
    weight = RGB[:, :, 0]
    files, bare = await asyncio.gather(
        *(
            output.encode_files(
                wanted,
                Picture(RGB),
                None,
                cutout=lambda: Picture(RGB, weight),
                mask_alpha=weight,
                shared=SharedFiles(),
            )
            for wanted in (Output(format, quality), Output(format, quality, cutout=False, mask=False))
        )
    )
    with Image.open(io.BytesIO(files.output)) as image:
        assert image.format == format
        assert format == "JPEG" or np.array_equal(np.asarray(image), RGB)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files.cutout))), np.dstack([RGB, weight]))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(files.mask))), weight)
    assert (bare.output, bare.cutout, bare.mask) == (files.output, b"", b"")


def test_the_cutout_is_left_out_with_a_warning_where_an_answer_would_be_too_large() -> None:
    files = Files(b"r" * 600, b"c" * 500, b"m" * 100)
    assert files.within(1200, 1200) == (files, ())
    kept, (warning,) = files.within(1199, 1199)
    assert kept == Files(files.output, b"", files.mask)
    assert warning.english.startswith("background_removed_image: left out")
    kept, warnings = files.within(650, 650)
    assert kept == Files(files.output, b"", b"")
    assert len(warnings) == 2
    kept, warnings = files.within(1200, 300)
    assert kept == Files(files.output, b"", b"")
    assert len(warnings) == 2


def test_a_result_that_no_answer_can_hold_is_refused_with_what_to_do() -> None:
    with pytest.raises(RequestTooLarge, match="take JPEG, WebP with a quality, or a smaller picture") as caught:
        Files(b"r" * 600, b"", b"").within(599, 599)
    assert "JPEG" in caught.value.korean
