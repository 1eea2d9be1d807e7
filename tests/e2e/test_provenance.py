"""A result records its parameters, no metadata of the input, and can be repeated."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from imgedit import SyncEditClient
from imgedit.imaging import provenance
from imgedit.v1 import edit_pb2

OPTIONS = {"experiment": "ben2_flux_fill", "prompt": "a gym at 50° <north>", "steps": 10, "strength": 0.3, "seed": 11}
SECRET = b"Seongsu-dong 37"


def inspect(*arguments: object, target: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IMGEDIT_TARGET": target, "COLUMNS": "160"}
    command = [sys.executable, "-m", "imgedit.cli", "inspect", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, env=environment)


def with_secrets(format: str, photo: Path) -> bytes:
    """A picture with GPS, comments, XMP and a colour profile that all hold a secret."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = SECRET.decode()
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSAreaInformation] = SECRET
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, object] = {"exif": exif, "icc_profile": profile + SECRET}
    if format == "PNG":
        text = PngInfo()
        text.add_text("Comment", SECRET.decode())
        text.add_itxt("XML:com.adobe.xmp", SECRET.decode(), zip=False)
        options["pnginfo"] = text
    else:
        options["xmp"] = SECRET
    if format == "JPEG":
        options["comment"] = SECRET
    buffer = io.BytesIO()
    with Image.open(photo) as image:
        image.convert("RGB").save(buffer, format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("wanted", ["PNG", "JPEG", "WEBP"])
def test_a_result_can_be_made_again_from_what_it_says(
    stack: object, client: SyncEditClient, photo: Path, tmp_path: Path, wanted: str
) -> None:
    result = tmp_path / f"result.{wanted.lower()}"
    options = edit_pb2.OutputOptions(format=f"OUTPUT_FORMAT_{wanted}")
    result.write_bytes(client.edit(photo, output=options, **OPTIONS).output_image)
    done = inspect(result, "--replay", photo, "--out", tmp_path / "again", target=stack.target)  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr
    assert "the same bytes" in done.stderr
    assert (tmp_path / "again").read_bytes() == result.read_bytes()


def test_replay_refuses_another_picture(client: SyncEditClient, photo: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.png"
    result.write_bytes(client.edit(photo, **OPTIONS).output_image)
    done = inspect(result, "--replay", result)
    assert done.returncode == 1
    assert "input_image" in done.stderr


def test_inspect_shows_what_was_used(client: SyncEditClient, photo: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.png"
    answer = client.edit(photo, **OPTIONS)
    result.write_bytes(answer.output_image)
    shown = json.loads(inspect(result, "--json").stdout)
    assert shown["digital_source_type"] == provenance.TRAINED_ALGORITHMIC_MEDIA
    assert shown["experiment_id"] == "ben2_flux_fill"
    assert shown["effective"]["prompt"] == OPTIONS["prompt"]
    assert shown["effective"]["steps_run"] == answer.effective.steps_run
    table = inspect(result).stdout
    assert "trainedAlgorithmicMedia" in table
    assert "a gym at 50° <north>" in table


def test_inspect_says_where_there_is_nothing_to_show(photo: Path) -> None:
    done = inspect(photo)
    assert done.returncode == 1
    assert "no record" in done.stderr


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_nothing_of_the_inputs_metadata_reaches_an_answer(client: SyncEditClient, photo: Path, format: str) -> None:
    sent = with_secrets(format, photo)
    assert SECRET in sent
    for wanted in ("PNG", "JPEG", "WEBP"):
        answer = client.edit(sent, output=edit_pb2.OutputOptions(format=f"OUTPUT_FORMAT_{wanted}"), **OPTIONS)
        for data in (answer.output_image, answer.background_removed_image, answer.mask_image):
            assert SECRET not in data
            with Image.open(io.BytesIO(data)) as image:
                assert "icc_profile" not in image.info
                assert not image.getexif().get_ifd(ExifTags.IFD.GPSInfo)


def test_a_picture_that_nobody_painted_is_not_called_generated(client: SyncEditClient, photo: Path) -> None:
    data = client.edit(photo, **{**OPTIONS, "strength": 0.0}).output_image
    assert provenance.source_type(data) is None
    assert provenance.read(data) is not None
