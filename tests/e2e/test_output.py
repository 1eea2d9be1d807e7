"""The answer's pictures, in the form and number that the caller asked for."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgedit import SyncEditClient
from imgedit.v1 import edit_pb2

OPTIONS = {"experiment": "ben2_flux_fill", "prompt": "a gym", "steps": 10, "strength": 0.1, "seed": 5}


def white_mask(photo: Path) -> bytes:
    with Image.open(photo) as image:
        size = image.size
    buffer = io.BytesIO()
    Image.new("L", size, 255).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_the_result_has_the_format_that_was_asked_for(client: SyncEditClient, photo: Path, format: str) -> None:
    wanted = edit_pb2.OutputOptions(format=f"OUTPUT_FORMAT_{format}")
    answer = client.edit(photo, output=wanted, **OPTIONS)
    with Image.open(io.BytesIO(answer.output_image)) as image:
        assert (image.format, image.size) == (format, (answer.width, answer.height))
    for other in (answer.background_removed_image, answer.mask_image):
        assert other.startswith(b"\x89PNG")
    assert answer.effective.output.format == wanted.format
    assert answer.effective.output.HasField("quality") == (format == "JPEG")


def test_lossless_webp_and_png_hold_the_same_pixels(client: SyncEditClient, photo: Path) -> None:
    png = client.edit(photo, **OPTIONS).output_image
    webp = client.edit(photo, output=edit_pb2.OutputOptions(format="OUTPUT_FORMAT_WEBP"), **OPTIONS).output_image
    first, second = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in (png, webp))
    assert np.array_equal(first, second)


def test_the_segmentation_does_not_run_where_nobody_wants_it(client: SyncEditClient, photo: Path) -> None:
    bare = edit_pb2.OutputOptions(omit=["OUTPUT_OMIT_CUTOUT", "OUTPUT_OMIT_MASK"])
    stages = []
    answer = client.edit(
        photo,
        mask=white_mask(photo),
        output=bare,
        on_event=lambda event: stages.append(event.stage) if event.HasField("stage") else None,
        **OPTIONS,
    )
    assert answer.success
    assert (answer.background_removed_image, answer.mask_image) == (b"", b"")
    assert "segment" not in [timing.name for timing in answer.stage_timings]
    assert "BEN2" not in [model.model_id for model in answer.effective.models]
    assert [(stage.index, stage.count) for stage in stages] == [(i, len(stages)) for i in range(1, len(stages) + 1)]
    assert list(answer.effective.output.omit) == [edit_pb2.OUTPUT_OMIT_CUTOUT, edit_pb2.OUTPUT_OMIT_MASK]


def test_the_segmentation_runs_where_the_mask_depends_on_it(client: SyncEditClient, photo: Path) -> None:
    answer = client.edit(photo, output=edit_pb2.OutputOptions(omit=["OUTPUT_OMIT_CUTOUT"]), **OPTIONS)
    assert answer.background_removed_image == b""
    assert answer.mask_image
    assert "segment" in [timing.name for timing in answer.stage_timings]
