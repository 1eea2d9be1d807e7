"""Results that are written into the gallery and read again, each by its owner."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from imgedit.errors import ImageRejected
from imgedit.request import EditOptions, edit_request
from imgedit.v1 import edit_pb2
from imgedit.values import Lora, Mask, Outpaint, Output
from studio import input_images, runs
from studio.gallery import saved
from studio.gallery.shelf import Shelf, shelf_of
from studio.gallery.store import Gallery, GalleryError, Limits
from studio.runs import Result, Task

LIMITS = Limits(10**8, 10**8, 10**6)
FIRST, SECOND = "a" * 32, "b" * 32


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


OPTIONS: EditOptions = {
    "experiment": "ben2_flux_fill",
    "feature": "outpainting",
    "prompt": "체육관 \U0001f3cb",
    "steps": 12,
    "seed": None,
    "postprocess": False,
    "loras": [Lora("sketch", 0.5)],
    "mask": png(Image.new("L", (20, 30), 255)),
    "mask_options": Mask(grow_px=3, subject="background"),
    "outpaint": Outpaint(left=8, aspect=None),
    "output": Output(format="webp", quality=80, omit=("mask",)),
    "references": [png(Image.new("RGB", (20, side))) for side in (20, 40)],
}
"""One of each kind that needs care."""


def finished(options: EditOptions = OPTIONS, request_id: str = "r1") -> Task:
    source = input_images.open_image("사진/../x.png", png(Image.new("RGB", (20, 30), "teal")))
    answer = edit_pb2.EditResponse(
        request_id=request_id,
        output_image=png(Image.new("RGB", (28, 30), "red")),
        background_removed_image=png(Image.new("RGBA", (20, 30))),
        seed=7,
        effective={"feature_id": "outpainting", "steps": 12, "outpaint": {"left": 8}},
    )
    task = Task(source, options, number=1, values={"prompt": "체육관", "ben2-steps": 12, "on": True})
    task.result = runs.result_of(task, answer)
    return task


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    made = shelf_of(Gallery(tmp_path, LIMITS), user="", browser=FIRST)
    assert made
    return made


def only(shelf: Shelf) -> str:
    [entry], _ = shelf.entries(count=9, starred=False)
    return entry.id


def test_a_result_comes_back_whole_with_options_that_send_the_same_request(shelf: Shelf) -> None:
    task = finished()
    shelf.keep(task)
    assert task.not_kept is None
    before, after = task.result, shelf.take(only(shelf), number=5, visit="")
    assert before
    assert after
    assert after.answer == before.answer
    assert (after.number, after.values, after.source) == (5, before.values, before.source)
    assert (after.before, after.after, after.cutout, after.thumb) == (
        *(before.before, before.after, before.cutout, before.thumb),
    )
    assert after.options["output"] == OPTIONS["output"]
    asked = [edit_request(result.source.data, **result.options, request_id="x") for result in (before, after)]
    assert asked[0] == asked[1]


def test_an_entry_tells_its_prompt_and_is_found_by_its_result(shelf: Shelf) -> None:
    task = finished()
    shelf.keep(task)
    assert task.result
    entry = shelf.find(task.result)
    assert entry
    assert (entry.experiment, entry.feature, entry.prompt) == ("ben2_flux_fill", "outpainting", "체육관 \U0001f3cb")
    shelf.star(entry, is_starred=True)
    [starred], _ = shelf.entries(count=9, starred=True)
    assert starred.is_starred
    shelf.delete(starred)
    assert shelf.find(task.result) is None
    assert shelf.take(entry.id, number=1, visit="") is None


def test_each_login_and_each_browser_has_its_own_shelf(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, LIMITS)
    whose = [("kim", ""), ("lee", ""), ("", FIRST), ("", SECOND), (f"browser {FIRST}", "")]
    shelves = [shelf_of(gallery, user=user, browser=browser) for user, browser in whose]
    owners = {shelf.owner for shelf in shelves if shelf}
    assert len(owners) == len(whose)
    assert not any(name in owner for owner in owners for name in ("kim", FIRST))
    with_login, same_person = (shelf_of(gallery, user="kim", browser=browser) for browser in (FIRST, SECOND))
    assert with_login == same_person == shelves[0]


@pytest.mark.parametrize("browser", ["", "a", "A" * 32, f"{'a' * 31}\n", "../" + "a" * 29])
def test_without_a_login_or_an_id_of_ours_nothing_is_kept(tmp_path: Path, browser: str) -> None:
    assert shelf_of(Gallery(tmp_path, LIMITS), user="", browser=browser) is None
    assert shelf_of(None, user="kim", browser=FIRST) is None


def test_a_broken_disk_costs_no_result_and_is_noted(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    shelf = Shelf(Gallery(tmp_path / "file", LIMITS), "kim")
    task = finished()
    shelf.keep(task)
    assert task.not_kept == "broken"
    assert task.result
    too_small = Shelf(Gallery(tmp_path / "new", Limits(10, 10, 1)), "kim")
    too_small.keep(task)
    assert task.not_kept == "too_large"


def test_a_task_without_a_result_leaves_nothing(shelf: Shelf) -> None:
    shelf.keep(Task(finished().source, OPTIONS))
    assert shelf.entries(count=9, starred=False) == ([], 0)


@pytest.mark.parametrize("file", ["answer", "result", "source"])
@pytest.mark.parametrize("data", [None, b"\xff\xff damaged"])
def test_damaged_files_are_told_and_never_shown(shelf: Shelf, file: str, data: bytes | None) -> None:
    shelf.keep(finished())
    path = shelf.gallery.folder / "edits" / only(shelf) / file
    path.unlink()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises((GalleryError, ImageRejected)):
        shelf.take(only(shelf), number=1, visit="")


def test_details_of_another_form_are_told(shelf: Shelf) -> None:
    shelf.keep(finished())
    [entry], _ = shelf.entries(count=9, starred=False)
    for details in ("", "[]", "{}", json.dumps({**json.loads(entry.details), "options": {"output": {"x": 1}}})):
        with pytest.raises(GalleryError, match="cannot be read"):
            saved.restored(replace(entry, details=details), shelf.gallery.files(entry), number=1, visit="")


def test_the_result_of_a_batch_is_kept_before_its_pictures_go(shelf: Shelf) -> None:
    kept: list[Result | None] = []
    task = finished()
    result, task.result = task.result, None
    run = runs.Run([task], [shelf.keep, lambda done: kept.append(done.result)])
    run._end(task, result=result)
    assert kept == [result]
    assert shelf.entries(count=9, starred=False)[1] == 1
