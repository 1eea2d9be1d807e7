"""Bad input at the public RPC: the right code, the field, what to do.

And the next request works.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from PIL import Image

from imgedit import SyncEditClient
from imgedit.channels import CHANNEL_OPTIONS
from imgedit.errors import (
    ExperimentNotFound,
    FeatureNotFound,
    ImageRejected,
    ImgeditError,
    InvalidArgument,
    NoSubjectFound,
    PromptLanguageUnsupported,
    PromptRejected,
    RequestTooLarge,
)
from imgedit.v1 import edit_pb2, edit_pb2_grpc

MIB = 1024 * 1024


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))


SMALL = Image.new("RGB", (64, 48), (200, 30, 30))
FRAMES = [Image.new("RGB", (64, 48), (shade, 0, 0)) for shade in (0, 120, 240)]
GOOD = encoded(Image.effect_noise((64, 48), 80).convert("RGB"), "PNG")

BAD_PICTURES = {
    "empty": b"",
    "text file": b"this is no picture\n" * 50,
    "truncated PNG": encoded(Image.effect_noise((256, 256), 80), "PNG")[:9000],
    "truncated JPEG": encoded(Image.effect_noise((256, 256), 80), "JPEG")[:5000],
    "GIF": encoded(SMALL, "GIF"),
    "BMP": encoded(SMALL, "BMP"),
    "animated WebP": encoded(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:]),
    "animated PNG": encoded(FRAMES[0], "PNG", save_all=True, append_images=FRAMES[1:]),
    "60000x60000 PNG header": png_header(60000, 60000),
    "20000x20 PNG": png_header(20000, 20),
    "6000x6000 PNG header": png_header(6000, 6000),
    "8x8 PNG": encoded(Image.new("RGB", (8, 8)), "PNG"),
}


@pytest.fixture
def still_works(client: SyncEditClient) -> Iterator[None]:
    """After the bad request, a good one is answered."""
    yield
    mask = encoded(Image.new("L", (64, 48), 255), "PNG")
    assert client.edit(GOOD, experiment="ben2_flux_fill", prompt="a gym", steps=10, strength=0.1, mask=mask).success


def refused(client: SyncEditClient, image: bytes | Path = GOOD, **options: object) -> ImgeditError:
    arguments = {"experiment": "ben2_flux_fill", "feature": "inpainting", "prompt": "a gym", **options}
    with pytest.raises(ImgeditError) as caught:
        client.edit(image, **arguments)  # type: ignore[arg-type]
    error = caught.value
    assert error.request_id
    assert any("가" <= char <= "힣" for char in error.korean), "every error has a Korean message"
    return error


@pytest.mark.parametrize("picture", BAD_PICTURES.values(), ids=BAD_PICTURES.keys())
@pytest.mark.usefixtures("still_works")
def test_a_bad_picture_is_rejected_by_name(client: SyncEditClient, picture: bytes) -> None:
    error = refused(client, picture)
    assert type(error) is ImageRejected
    assert [violation.field for violation in error.violations] == ["input_image"]


def test_the_size_in_a_header_is_judged_before_anything_is_decoded(client: SyncEditClient) -> None:
    assert "25 megapixels" in refused(client, BAD_PICTURES["60000x60000 PNG header"]).message
    assert "damaged or cut off" in refused(client, BAD_PICTURES["truncated PNG"]).message


def test_a_foreign_format_is_named(client: SyncEditClient) -> None:
    assert "GIF" in refused(client, BAD_PICTURES["GIF"]).message


OUT_OF_RANGE = [
    ("steps", 9, "10 to 50"),
    ("steps", 51, "10 to 50"),
    ("guidance_scale", 0.5, "1 to 15"),
    ("guidance_scale", float("nan"), "nan"),
    ("guidance_scale", float("inf"), "inf"),
    ("strength", 1.1, "0 to 1"),
    ("strength", -0.1, "0 to 1"),
]


@pytest.mark.parametrize(("field", "value", "said"), OUT_OF_RANGE)
def test_a_number_out_of_range_names_the_field_and_the_range(
    client: SyncEditClient, field: str, value: float, said: str
) -> None:
    error = refused(client, **{field: value})
    assert type(error) is InvalidArgument
    assert [violation.field for violation in error.violations] == [field]
    assert said in error.message
    assert f"{value:g}" in error.message


def test_numbers_at_the_ends_of_the_range_are_accepted(client: SyncEditClient, photo: Path) -> None:
    for options in ({"steps": 50, "strength": 0.0}, {"steps": 10, "guidance_scale": 15.0, "strength": 0.2}):
        assert client.edit(photo, experiment="ben2_flux_fill", prompt="a gym", **options).success


@pytest.mark.usefixtures("still_works")
def test_unknown_ids_are_not_found_and_the_known_ones_are_named(client: SyncEditClient) -> None:
    experiment = refused(client, experiment="no_such")
    assert type(experiment) is ExperimentNotFound
    assert experiment.resource is not None
    assert experiment.resource.name == "no_such"
    assert "ben2_flux_fill" in experiment.message
    feature = refused(client, feature="no_such")
    assert type(feature) is FeatureNotFound
    assert "inpainting" in feature.message


def test_a_feature_of_the_other_experiment_is_not_found_and_its_owner_is_named(client: SyncEditClient) -> None:
    error = refused(client, feature="text_editing")
    assert type(error) is FeatureNotFound
    assert "ben2_qwen_image" in error.message


@pytest.mark.parametrize("prompt", ["", "   \n", "a" * 2001])
def test_an_empty_or_endless_prompt_is_rejected(client: SyncEditClient, prompt: str) -> None:
    error = refused(client, prompt=prompt)
    assert type(error) is PromptRejected
    assert [violation.field for violation in error.violations] == ["prompt"]


@pytest.mark.usefixtures("still_works")
@pytest.mark.parametrize("prompt", ["a sign that says '체육관'", "벽에 '체육관' 쓰기", "გამარჯობა"])
def test_flux_never_paints_from_letters_it_cannot_read(client: SyncEditClient, prompt: str) -> None:
    error = refused(client, prompt=prompt)
    assert type(error) is PromptLanguageUnsupported
    assert [violation.field for violation in error.violations] == ["prompt"]
    assert "English" in error.message


@pytest.mark.usefixtures("still_works")
def test_a_mask_must_have_the_pictures_size(client: SyncEditClient) -> None:
    error = refused(client, mask=encoded(Image.new("L", (48, 64), 255), "PNG"))
    assert type(error) is InvalidArgument
    assert [violation.field for violation in error.violations] == ["mask_image"]
    assert "48x64" in error.message
    assert "64x48" in error.message


def test_an_all_black_mask_leaves_nothing_to_repaint(client: SyncEditClient) -> None:
    error = refused(client, mask=encoded(Image.new("L", (64, 48), 0), "PNG"))
    assert type(error) is InvalidArgument
    assert [violation.field for violation in error.violations] == ["mask_image"]
    assert "black" in error.message


def test_a_broken_mask_is_named_as_the_mask(client: SyncEditClient) -> None:
    error = refused(client, mask=b"no picture")
    assert type(error) is ImageRejected
    assert [violation.field for violation in error.violations] == ["mask_image"]


@pytest.mark.parametrize("colour", ["white", "black", (128, 128, 128), (30, 90, 200)])
@pytest.mark.usefixtures("still_works")
def test_a_picture_without_a_subject_needs_a_mask_from_the_caller(
    client: SyncEditClient, colour: str | tuple[int, int, int]
) -> None:
    error = refused(client, encoded(Image.new("RGB", (256, 256), colour), "PNG"))
    assert type(error) is NoSubjectFound
    assert error.stage == "mask" or "mask_image" in error.message


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"outpaint": edit_pb2.Outpaint(left=10)}, "outpaint"),
        ({"references": [GOOD]}, "reference_images"),
        ({"negative_scale": 3.0}, "negative_scale"),
        ({"request_id": "no spaces allowed"}, "request_id"),
        ({"feature": "outpainting", "outpaint": edit_pb2.Outpaint()}, "outpaint"),
        ({"feature": "outpainting", "outpaint": edit_pb2.Outpaint(left=-1)}, "outpaint.left"),
        ({"feature": "outpainting", "outpaint": edit_pb2.Outpaint(top=5000)}, "outpaint.top"),
        ({"feature": "outpainting", "outpaint": edit_pb2.Outpaint(aspect="wide")}, "outpaint.aspect"),
        ({"feature": "outpainting", "outpaint": edit_pb2.Outpaint(left=1, aspect="1:1")}, "outpaint"),
        ({"feature": "outpainting", "prompt": "a gym"}, "outpaint"),
        ({"feature": "outpainting", "prompt": "a gym left", "mask": GOOD}, "mask_image"),
    ],
)
def test_a_field_of_no_use_or_malformed_is_refused_by_name(
    client: SyncEditClient, options: dict[str, object], field: str
) -> None:
    error = refused(client, **options)
    assert type(error) is InvalidArgument
    assert [violation.field for violation in error.violations] == [field]


def test_more_than_two_references_are_refused(client: SyncEditClient) -> None:
    error = refused(client, experiment="ben2_qwen_image", feature="multi_image_editing", references=[GOOD, GOOD, GOOD])
    assert [violation.field for violation in error.violations] == ["reference_images"]


def test_a_broken_reference_is_named_by_its_place(client: SyncEditClient) -> None:
    error = refused(client, experiment="ben2_qwen_image", feature="multi_image_editing", references=[GOOD, b"no"])
    assert [violation.field for violation in error.violations] == ["reference_images[1]"]


@pytest.mark.usefixtures("still_works")
def test_a_message_over_the_handlers_limit_is_refused_with_details(client: SyncEditClient) -> None:
    error = refused(client, bytes(40 * MIB))
    assert type(error) is RequestTooLarge
    assert "32 MiB" in error.message
    assert [violation.field for violation in error.violations] == ["input_image"]


@pytest.mark.usefixtures("still_works")
def test_a_message_over_the_transports_limit_is_refused_by_code(stack: object, client: SyncEditClient) -> None:
    options = [("grpc.max_send_message_length", 100 * MIB)]
    with grpc.insecure_channel(stack.target, options=options) as channel:  # type: ignore[attr-defined]
        stub = edit_pb2_grpc.EditServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Edit(edit_pb2.EditRequest(experiment_id="ben2_flux_fill", input_image=bytes(50 * MIB)), timeout=60)
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


def test_edit_and_edit_stream_answer_a_fault_alike(stack: object) -> None:
    request = edit_pb2.EditRequest(experiment_id="no_such", input_image=GOOD, prompt="a gym")
    with grpc.insecure_channel(stack.target, options=CHANNEL_OPTIONS) as channel:  # type: ignore[attr-defined]
        stub = edit_pb2_grpc.EditServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Edit(request, timeout=60)
        events = list(stub.EditStream(request, timeout=60))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
    assert [event.WhichOneof("event") for event in events] == ["error"]
    assert events[0].error.code == grpc.StatusCode.NOT_FOUND.value[0]
