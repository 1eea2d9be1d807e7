"""Edits by instruction through the public RPC.

Sizes, what is reported as unused, and broken references.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgedit import SyncEditClient
from imgedit.errors import ImageRejected
from imgedit.v1 import edit_pb2


def encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def edit(client: SyncEditClient, image: bytes | Path, **options: object) -> edit_pb2.EditResponse:
    fields: dict[str, object] = {"feature": "semantic_editing", "prompt": "하늘을 밤으로", "seed": 7, "steps": 10}
    return client.edit(image, experiment="ben2_qwen_image", **{**fields, **options})


@pytest.mark.parametrize("size", [(1477, 2056), (8000, 600), (333, 77)])
def test_the_answer_has_the_pictures_size(client: SyncEditClient, photo: Path, size: tuple[int, int]) -> None:
    answer = edit(client, encoded(Image.open(photo).resize(size)), strength=0.1)
    assert (answer.width, answer.height) == Image.open(io.BytesIO(answer.output_image)).size == size


def test_strength_zero_returns_the_pictures_pixels(client: SyncEditClient, photo: Path) -> None:
    answer = edit(client, photo, strength=0.0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.output_image))), np.asarray(Image.open(photo)))
    assert answer.effective.steps_run == 0


def test_a_negative_prompt_without_guidance_is_reported_as_unused(client: SyncEditClient, photo: Path) -> None:
    answer = edit(client, photo, negative_prompt="blurry", guidance_scale=1.0)
    assert not answer.effective.HasField("negative_prompt")
    assert any("negative_prompt" in warning for warning in answer.warnings)
    assert edit(client, photo, guidance_scale=1.0).output_image == answer.output_image
    used = edit(client, photo, negative_prompt="blurry", guidance_scale=2.0)
    assert used.effective.negative_prompt == "blurry"
    assert not used.warnings


def test_references_of_three_sizes_change_the_picture(client: SyncEditClient, photo: Path) -> None:
    portrait = Image.open(photo)
    references = [encoded(portrait.resize((97, 333))), encoded(portrait.resize((700, 41)).rotate(180))]
    answers = [edit(client, photo, feature="multi_image_editing", references=references[:count]) for count in (0, 1, 2)]
    assert len({answer.output_image for answer in answers}) == 3
    assert [answer.effective.reference_count for answer in answers] == [0, 1, 2]
    assert {(answer.width, answer.height) for answer in answers} == {portrait.size}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("fault", ["cut off", "not a picture", "empty"])
def test_a_broken_reference_is_named_by_its_place(client: SyncEditClient, photo: Path, place: int, fault: str) -> None:
    good = encoded(Image.open(photo))
    broken = {"cut off": good[: len(good) // 2], "not a picture": b"no picture at all", "empty": b""}[fault]
    references = [good, good]
    references[place] = broken
    with pytest.raises(ImageRejected) as caught:
        edit(client, photo, feature="multi_image_editing", references=references)
    assert [violation.field for violation in caught.value.violations] == [f"reference_images[{place}]"]
