"""EditResult: the pictures and what was used, without the wire."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from imgedit import EditResult, EditStatus, Progress
from imgedit.progress import listener
from imgedit.v1 import edit_pb2, progress_pb2


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
        korean_warnings=["알림"],
        **fields,  # type: ignore[arg-type]
    )
    message.effective.steps = 28
    return EditResult(message)


def test_every_field_of_the_answer_is_a_property() -> None:
    made = result(mask_image=b"mask", background_removed_image=b"cut-out")
    for field in edit_pb2.EditResponse.DESCRIPTOR.fields:
        if field.name != "further_results":  # `results` has them
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


def told(*events: edit_pb2.EditEvent) -> list[Progress]:
    seen: list[Progress] = []
    listen = listener(seen.append)
    for event in events:
        listen(event)
    return seen


def at(index: int, step: int) -> edit_pb2.EditEvent:
    done = edit_pb2.StageProgress(stage="fill", step=step, steps=4, eta_seconds=4 - step)
    return edit_pb2.EditEvent(index=index, progress=done)


def begun(name: str, place: int, index: int = 0) -> edit_pb2.EditEvent:
    return edit_pb2.EditEvent(index=index, stage=edit_pb2.StageStarted(name=name, index=place, count=3))


def test_the_progress_of_several_results_is_told_together() -> None:
    start = [begun("mask", 1), begun("fill", 2), begun("fill", 2, index=1)]
    assert told(*start, at(0, 1), at(1, 2))[-1] == Progress("fill", 2, 3, step=3, steps=8, eta_seconds=3)
    ahead = told(*start, at(0, 4), begun("composite", 3), at(1, 3))[-1]
    assert ahead == Progress("fill", 2, 3, step=3, steps=4, eta_seconds=1)


def test_several_results_wait_while_all_of_them_do() -> None:
    def queued(index: int, position: int) -> edit_pb2.EditEvent:
        return edit_pb2.EditEvent(index=index, queued=progress_pb2.Queued(position=position))

    start = [begun("fill", 2), begun("fill", 2, index=1), queued(0, 2), queued(1, 3)]
    assert told(*start)[-1].waiting == 2
    assert told(*start, at(0, 1))[-1].waiting is None
