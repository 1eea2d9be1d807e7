"""The record of a result: in every format, well-formed, readable, and repeatable."""

from __future__ import annotations

import io
import json
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
import pytest
from PIL import ExifTags, Image

from imgedit.imaging import provenance
from imgedit.imaging.encoding import encode_jpeg, encode_png, encode_webp
from imgedit.imaging.images import Picture
from imgedit.imaging.provenance import TRAINED_ALGORITHMIC_MEDIA, Record
from imgedit.v1 import edit_pb2

RGB = np.random.default_rng(2).integers(0, 256, (32, 48, 3), dtype=np.uint8)
ALPHA = RGB[:, :, 0]
NASTY = "배경 <b>&amp; ]]> \"'\\ \x01\x7f\ufffe\n 😀 --><?xpacket end?></x:xmpmeta>"
FORGED = '{"generator":"another","experiment_id":"","request":{},"effective":{"prompt":""},"inputs":{}}'
EXTENSION = "{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}"


def request(**fields: object) -> edit_pb2.EditRequest:
    given = {"experiment_id": "ben2_flux_fill", "input_image": b"the picture", "prompt": "a gym", **fields}
    return edit_pb2.EditRequest(**given)


def effective(**fields: object) -> edit_pb2.EffectiveParameters:
    given = {"feature_id": "inpainting", "prompt": "a gym", "steps": 28, "steps_run": 22, "seed": 7, **fields}
    return edit_pb2.EffectiveParameters(**given)


def record(*, with_prompts: bool = True, **used: object) -> Record:
    return provenance.record_of(request(), effective(**used), generator="imgedit 0.1.0", with_prompts=with_prompts)


def files(made: Record) -> dict[str, bytes]:
    metadata = provenance.metadata_of(made)
    return {
        "PNG": encode_png(RGB, ALPHA, metadata),
        "JPEG": encode_jpeg(Picture(RGB, ALPHA), 95, metadata),
        "WEBP": encode_webp(Picture(RGB, ALPHA), None, metadata),
    }


def packet(parameters: str) -> bytes:
    """An XMP packet as anybody can write it."""
    text = escape(parameters, {'"': "&quot;"})
    parts = f"<p:Parameters xmlns:p='urn:imgedit:ns:1.0:'>{text}</p:Parameters>"
    source = "<e:DigitalSourceType xmlns:e='http://iptc.org/std/Iptc4xmpExt/2008-02-29/'>camera</e:DigitalSourceType>"
    return f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{parts}{source}</x:xmpmeta>".encode()


@pytest.mark.parametrize("prompt", ["a gym", NASTY, "&" * 2000, "\x01" * 2000, "한" * 2000, "😀" * 2000])
def test_every_format_gives_the_record_back(prompt: str) -> None:
    made = record(prompt=prompt, negative_prompt=prompt)
    for data in files(made).values():
        assert provenance.read(data) == made
        assert provenance.source_type(data) == TRAINED_ALGORITHMIC_MEDIA


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_pillow_reads_the_picture_and_its_metadata(format: str) -> None:
    with Image.open(io.BytesIO(files(record(prompt=NASTY))[format])) as image:
        image.load()
        assert image.size == (48, 32)
        packet = image.info["XML:com.adobe.xmp"].encode() if format == "PNG" else image.info["xmp"]
        exif = image.getexif()
        text = image.info.get("imgedit")
    root = ElementTree.fromstring(packet.split(b"?>", 1)[1].rsplit(b"<?", 1)[0])
    assert root.findtext(f".//{EXTENSION}DigitalSourceType") == TRAINED_ALGORITHMIC_MEDIA
    if format == "PNG":
        assert json.loads(text)["effective"]["prompt"] == NASTY
    else:
        assert exif[ExifTags.Base.Software] == "imgedit 0.1.0"
        comment = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
        assert comment[:8] == b"ASCII\0\0\0"
        assert json.loads(comment[8:])["effective"]["prompt"] == NASTY


def test_the_source_type_stands_in_the_file_for_any_search_to_find() -> None:
    for data in files(record()).values():
        assert data.count(TRAINED_ALGORITHMIC_MEDIA.encode()) == 1
        assert data.count(b"<?xpacket begin=") == data.count(b"<?xpacket end=") == 1


def test_what_no_model_painted_is_not_called_so() -> None:
    made = record(steps_run=0)
    for data in files(made).values():
        assert b"trainedAlgorithmicMedia" not in data
        assert provenance.read(data) == made


def test_the_prompts_can_be_left_out_everywhere() -> None:
    secrets = {"prompt": "secret one", "negative_prompt": "secret two", "requested_prompt": "secret three"}
    secrets["requested_negative_prompt"] = "secret four"
    made = record(with_prompts=False, direction_words=["secret five"], **secrets)
    for data in files(made).values():
        assert b"secret" not in data
        assert provenance.read(data) == made
    assert not made.has_prompts


def test_a_record_too_long_for_a_jpeg_goes_without_its_prompts() -> None:
    for data in files(record(prompt="&" * 20_000)).values():
        read = provenance.read(data)
        assert read is not None
        assert not read.has_prompts


def test_ids_pictures_and_previews_are_not_in_it() -> None:
    asked = request(request_id="my-id", preview_every=3, mask_image=b"the mask", steps=28)
    made = provenance.record_of(asked, effective(), generator="imgedit 0", with_prompts=True)
    assert made.request == {"feature_id": "inpainting", "steps": 28, "seed": 7}
    assert "my-id" not in made.json()
    assert "the mask" not in made.json()
    assert len(made.inputs["mask_image"]) == 64


def test_the_request_made_of_a_record_makes_the_same_edit() -> None:
    asked = request(
        feature_id="inpainting",
        negative_prompt="",
        steps=30,
        strength=0.5,
        profile="PROFILE_HIGH",
        mask_image=b"the mask",
        mask_options=edit_pb2.MaskOptions(grow_px=3, feather_px=0),
        reference_images=[b"one", b"two"],
        output=edit_pb2.OutputOptions(format="OUTPUT_FORMAT_WEBP", quality=80),
        expand_prompt=True,
    )
    used = effective(prompt="a modern gym, bright", requested_prompt="a gym", negative_prompt="", steps=30)
    made = provenance.record_of(asked, used, generator="imgedit 0", with_prompts=True)
    again = provenance.request_of(made, b"the picture", mask=b"the mask", references=[b"one", b"two"])
    asked.seed = 7
    assert again == asked
    assert provenance.record_of(again, used, generator="imgedit 0", with_prompts=True) == made


@pytest.mark.parametrize(
    ("pictures", "said"),
    [
        ({"image": b"another"}, "input_image"),
        ({"image": b"the picture", "mask": b"a mask"}, "mask_image"),
        ({"image": b"the picture", "references": [b"one"]}, "reference_images"),
    ],
)
def test_another_picture_is_not_taken_for_the_edited_one(pictures: dict[str, bytes], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        provenance.request_of(record(), **pictures)  # type: ignore[arg-type]


@pytest.mark.parametrize("prompt", [packet(FORGED).decode(), "<x:xmpmeta "], ids=["a packet", "its beginning"])
def test_a_prompt_cannot_pose_as_the_record(prompt: str) -> None:
    made = record(prompt=prompt)
    for data in files(made).values():
        assert provenance.read(data) == made
        assert provenance.source_type(data) == TRAINED_ALGORITHMIC_MEDIA


@pytest.mark.parametrize("wrong", [{"request": {"steps": "x"}}, {"effective": {"prompt": 1}}])
def test_a_record_that_somebody_made_up_is_said_to_be_none(wrong: dict[str, dict[str, object]]) -> None:
    parts = {"generator": "", "experiment_id": "", "request": {}, "effective": {"prompt": ""}, "inputs": {}, **wrong}
    made_up = provenance.read(packet(json.dumps(parts)))
    assert made_up is not None
    with pytest.raises(ValueError, match="not one of an edit"):
        provenance.request_of(made_up, b"")


def test_a_prompt_that_was_left_out_must_be_given() -> None:
    made = record(with_prompts=False)
    with pytest.raises(ValueError, match="--prompt"):
        provenance.request_of(made, b"the picture")
    assert provenance.request_of(made, b"the picture", prompt="a gym").prompt == "a gym"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<x:xmpmeta>",
        b"<x:xmpmeta ></x:xmpmeta>",
        b"<x:xmpmeta><!DOCTYPE a [<!ENTITY b 'c'>]></x:xmpmeta>",
        files(record())["PNG"].replace(b'{"effective"', b'{"effectivf"'),
        files(record())["PNG"].replace(b'"schema":1', b'"schema":2'),
        files(record())["PNG"].replace(b"</imgedit:Parameters>", b"</imgedit:Parameterz>"),
        packet("[" * 200_000),
        packet("9" * 5000),
        packet('{"generator":1,"experiment_id":[],"request":{},"effective":{},"inputs":{}}'),
        b"<x:xmpmeta " * 300_000,
        encode_png(RGB),
    ],
)
def test_a_file_without_a_sound_record_has_none(data: bytes) -> None:
    assert provenance.read(data) is None
