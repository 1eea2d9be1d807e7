"""EditResult: the pictures and what was used, without the wire."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from imgedit import EditResult, EditStatus
from imgedit.v1 import edit_pb2


def encoded(mode: str, format: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (6, 4), 128 if mode == "L" else "red").save(file, format)
    return file.getvalue()


def result(format: str = "PNG", **fields: object) -> EditResult:
    message = edit_pb2.EditResponse(
        success=True,
        experiment_id="ben2_flux_fill",
        experiment_name="BEN2 + FLUX.1-Fill",
        output_image=encoded("RGB", format),
        seed=7,
        width=6,
        height=4,
        elapsed_time=1.26,
        request_id="one",
        warnings=["a warning"],
        **fields,  # type: ignore[arg-type]
    )
    message.effective.steps = 28
    return EditResult(message)


def test_every_field_of_the_answer_is_a_property() -> None:
    made = result(mask_image=b"mask", background_removed_image=b"cut-out")
    for field in edit_pb2.EditResponse.DESCRIPTOR.fields:
        assert getattr(made, field.name) == getattr(made.message, field.name)


def test_the_result_is_there_as_bytes_and_as_an_image() -> None:
    made = result(mask_image=encoded("L"), background_removed_image=encoded("RGBA"))
    assert bytes(made) == made.output_image
    assert (made.image().mode, made.image().size) == ("RGB", (6, 4))
    mask, cutout = made.mask(), made.cutout()
    assert mask is not None
    assert cutout is not None
    assert (mask.mode, cutout.mode) == ("L", "RGBA")
    assert (result().mask(), result().cutout()) == (None, None)


def test_its_repr_is_short_and_holds_no_picture() -> None:
    text = repr(result("JPEG"))
    assert text.startswith("<EditResult 6x4 JPEG ")
    assert "seed 7, 1.3 s, request_id 'one'" in text
    assert len(text) < 120


def test_a_notebook_shows_the_picture() -> None:
    made = result("WEBP")
    assert made._repr_mimebundle_(include=None)["image/webp"] == made.output_image


@pytest.mark.parametrize(
    ("format", "name"), [("PNG", "a.png"), ("JPEG", "a.JPG"), ("JPEG", "a.jfif"), ("WEBP", "below/a.webp")]
)
def test_it_is_saved_as_it_came(tmp_path: Path, format: str, name: str) -> None:
    made = result(format)
    path = made.save(tmp_path / name)
    assert path == tmp_path / name
    assert path.read_bytes() == made.output_image


def test_a_name_of_another_format_is_refused_with_what_to_ask_for(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is a PNG file; .* end in \.png, or ask for output=Output\(format='jpeg'\)"):
        result().save(tmp_path / "a.jpg")
    for name in ("a.tif", "a", "a.", ".png"):
        with pytest.raises(ValueError, match=r"is a JPEG file; its name must end in \.jpg or \.jpeg or \.jfif$"):
            result("JPEG").save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_no_place_for_a_result(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder; name a file in it"):
        result().save(tmp_path)
    with pytest.raises(IsADirectoryError):
        result().save("./")


def test_a_result_can_be_a_key() -> None:
    assert {result(): 1}[result()] == 1
    assert {EditStatus("one", "succeeded", result=result()): 1}
