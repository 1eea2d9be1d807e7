"""A batch's requests, results and record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imgedit.batch import Job, State, digest_of, jobs, shared_output
from imgedit.output_files import write_whole

pytestmark = pytest.mark.slow


def touched(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def results(folder: Path, out: Path, *, recursive: bool = False, ending: str = ".png") -> dict[str, str]:
    found = jobs(folder, out, recursive=recursive, ending=ending)
    return {job.name: job.output.relative_to(out).as_posix() for job in found}


def test_the_pictures_of_a_folder_are_taken_by_their_ending(tmp_path: Path) -> None:
    touched(tmp_path, "b.JPG", "a.png", "c.webp", "d.jpeg", ".hidden.png", "notes.txt", "e.gif", "sub/f.png")
    assert results(tmp_path, tmp_path / "out") == {
        "a.png": "a.png",
        "b.JPG": "b.png",
        "c.webp": "c.png",
        "d.jpeg": "d.png",
    }


def test_folders_below_are_taken_when_asked_for_but_never_the_results(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "sub/deep/a.png", "out/a.png", "out/sub/b.png")
    found = results(tmp_path, tmp_path / "out", recursive=True, ending=".webp")
    assert found == {"a.png": "a.webp", "sub/deep/a.png": "sub/deep/a.webp"}


def test_pictures_that_differ_by_their_ending_alone_have_results_of_their_own(tmp_path: Path) -> None:
    touched(tmp_path, "a.jpg", "a.webp", "b.jpg", "a.b.jpg")
    found = results(tmp_path, tmp_path / "out")
    assert found == {"a.jpg": "a.jpg.png", "a.webp": "a.webp.png", "b.jpg": "b.png", "a.b.jpg": "a.b.png"}
    assert len(set(found.values())) == 4


def test_several_results_have_numbered_files_that_no_other_picture_may_share(tmp_path: Path) -> None:
    touched(tmp_path, "a.png", "b.jpg")
    found = jobs(tmp_path, tmp_path / "out", recursive=False, ending=".png", n=3)
    assert [[path.name for path in job.outputs] for job in found] == [
        ["a.png", "a-2.png", "a-3.png"],
        ["b.png", "b-2.png", "b-3.png"],
    ]
    assert shared_output(found) is None
    touched(tmp_path, "a-2.webp")
    shared = shared_output(jobs(tmp_path, tmp_path / "out", recursive=False, ending=".png", n=2))
    assert shared is not None
    one, other, path = shared
    assert ({one.name, other.name}, path.name) == ({"a.png", "a-2.webp"}, "a-2.png")
    assert shared_output(jobs(tmp_path, tmp_path / "out", recursive=False, ending=".png")) is None


def test_a_picture_is_done_while_all_its_results_are_there(tmp_path: Path) -> None:
    job = Job(tmp_path / "a.jpg", "a.jpg", tmp_path / "a.png", n=2)
    state = State(tmp_path / "state.jsonl")
    state.add(job, "digest", seed=1, seconds=0.5)
    touched(tmp_path, "a.png")
    assert not state.has(job, "digest")
    touched(tmp_path, "a-2.png")
    assert state.has(job, "digest")


def test_the_digest_changes_with_the_picture_and_with_every_option_but_not_with_the_id() -> None:
    base = digest_of(b"x", {"experiment": "e", "prompt": "p"})
    assert base == digest_of(b"x", {"experiment": "e", "prompt": "p", "request_id": "other"})
    others = [
        digest_of(b"y", {"experiment": "e", "prompt": "p"}),
        digest_of(b"x", {"experiment": "e", "prompt": "q"}),
        digest_of(b"x", {"experiment": "e", "prompt": "p", "seed": 0}),
        digest_of(b"x", {"experiment": "e", "prompt": "p", "mask": b"m"}),
    ]
    assert len({base, *others}) == 5


def test_what_is_done_is_remembered_as_long_as_its_result_is_there(tmp_path: Path) -> None:
    job = Job(tmp_path / "a.jpg", "a.jpg", tmp_path / "out" / "a.png")
    path = tmp_path / "state.jsonl"
    State(path).add(job, "digest", seed=1, seconds=0.5)
    assert not State(path).has(job, "digest")
    write_whole(job.output, b"result")
    assert State(path).has(job, "digest")
    assert not State(path).has(job, "another")
    assert json.loads(path.read_text())["seed"] == 1


@pytest.mark.parametrize("damage", ['{"name": "a.jpg", "dig', "null", "[]", "\x00\x01", '{"name": 5}'])
def test_a_damaged_line_is_forgotten_and_the_others_count(tmp_path: Path, damage: str) -> None:
    job = Job(tmp_path / "b.jpg", "b.jpg", tmp_path / "b.png")
    write_whole(job.output, b"result")
    path = tmp_path / "state.jsonl"
    State(path).add(job, "digest", seed=1, seconds=0.5)
    path.write_text(path.read_text() + damage, encoding="utf-8")
    state = State(path)
    assert state.has(job, "digest")


def test_a_line_after_one_that_was_cut_off_is_a_line_of_its_own(tmp_path: Path) -> None:
    job = Job(tmp_path / "b.jpg", "b.jpg", tmp_path / "b.png")
    write_whole(job.output, b"result")
    path = tmp_path / "state.jsonl"
    path.write_text('{"name": "a.jpg", "dig', encoding="utf-8")
    State(path).add(job, "digest", seed=1, seconds=0.5)
    assert State(path).has(job, "digest")


def test_a_result_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.png"
    write_whole(path, b"one")
    write_whole(path, b"two")
    assert path.read_bytes() == b"two"
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match="directory"):
        write_whole(path, b"three")
    assert [entry.name for entry in path.parent.iterdir()] == ["a.png"]
