"""The gallery on disk: its owners, its limits, and full or broken disks."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.gallery import store
from studio.gallery.store import Draft, Gallery, GalleryError, Limits

LARGE = Limits(10**6, 10**6, 100)


class Clock:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def draft(name: str, size: int = 100) -> Draft:
    return Draft(name, "an_experiment", "a_feature", f"prompt {name}", b"", "", {"result": b"x" * size})


def names(gallery: Gallery, owner: str = "kim", **how: bool) -> list[str]:
    return [entry.request_id for entry in gallery.entries(owner, count=100, **how)[0]]


def folders(gallery: Gallery) -> list[str]:
    return [path.name for path in (gallery.folder / "edits").iterdir()]


def test_an_edit_is_there_again_for_another_process_with_its_files(tmp_path: Path) -> None:
    full = Draft("a", "e", "f", "a gym", b"thumb", '{"x": 1}', {"result": b"r", "reference-2": b"s"})
    Gallery(tmp_path / "new", LARGE, Clock()).add("kim", full)
    again = Gallery(tmp_path / "new", LARGE, Clock())
    [entry], total = again.entries("kim", count=5)
    assert total == 1
    assert (entry.prompt, entry.thumb, entry.details, entry.byte_count) == ("a gym", b"thumb", '{"x": 1}', 15)
    assert again.files(entry) == {"result": b"r", "reference-2": b"s"}
    assert again.find("kim", "a") == again.entry("kim", entry.id) == entry


def test_the_newest_come_first_and_only_as_many_as_asked_for(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, LARGE, Clock())
    for name in "abc":
        gallery.add("kim", draft(name))
    entries, total = gallery.entries("kim", count=2)
    assert ([entry.request_id for entry in entries], total) == (["c", "b"], 3)


def test_nobody_sees_stars_or_deletes_an_edit_of_another_owner(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, LARGE, Clock())
    gallery.add("kim", draft("a"))
    [entry], _ = gallery.entries("kim", count=1)
    assert names(gallery, "lee") == []
    assert gallery.entry("lee", entry.id) is None
    assert gallery.find("lee", "a") is None
    gallery.star("lee", entry.id, is_starred=True)
    gallery.delete("lee", entry.id)
    gallery.clear("lee")
    assert gallery.entry("kim", entry.id) == entry


def test_the_oldest_without_a_star_go_first_and_starred_ones_last(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, Limits(10**6, 300, 10**6), Clock())
    for name in "abc":
        gallery.add("kim", draft(name))
    oldest = gallery.find("kim", "a")
    assert oldest
    gallery.star("kim", oldest.id, is_starred=True)
    gallery.add("kim", draft("d"))
    assert names(gallery) == ["d", "c", "a"]
    gallery.add("kim", draft("e", 250))
    assert names(gallery) == ["e"]
    assert len(folders(gallery)) == 1


def test_all_owners_share_the_whole_and_each_has_a_limit(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, Limits(500, 300, 10**6), Clock())
    gallery.add("lee", draft("first"))
    for name in "abcd":
        gallery.add("kim", draft(name))
    assert (names(gallery), names(gallery, "lee")) == (["d", "c", "b"], ["first"])
    gallery.add("lee", draft("second", 150))
    assert (names(gallery), names(gallery, "lee")) == (["d", "c", "b"], ["second"])


def test_old_edits_go_unless_they_have_a_star(tmp_path: Path) -> None:
    clock = Clock()
    gallery = Gallery(tmp_path, LARGE, clock)
    for name in "ab":
        gallery.add("kim", draft(name))
    kept = gallery.find("kim", "a")
    assert kept
    gallery.star("kim", kept.id, is_starred=True)
    clock.now += 200
    assert names(gallery) == ["a"]
    assert names(gallery, starred=True) == ["a"]
    assert folders(gallery) == [kept.id]


def test_what_is_deleted_leaves_no_file(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, LARGE, Clock())
    for name in "abc":
        gallery.add("kim", draft(name))
    found = gallery.find("kim", "b")
    assert found
    gallery.delete("kim", found.id)
    assert names(gallery) == ["c", "a"]
    assert len(folders(gallery)) == 2
    gallery.clear("kim")
    assert (names(gallery), folders(gallery)) == ([], [])


def test_an_edit_larger_than_the_gallery_is_refused_and_removes_no_other(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, Limits(300, 300, 100), Clock())
    gallery.add("kim", draft("a"))
    with pytest.raises(GalleryError) as caught:
        gallery.add("kim", draft("b", 301))
    assert caught.value.reason == "too_large"
    assert names(gallery) == ["a"]


@pytest.mark.parametrize(("number", "reason"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EIO, "broken")])
def test_a_disk_that_fails_in_the_middle_leaves_nothing_half(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    gallery = Gallery(tmp_path, LARGE, Clock())
    gallery.add("kim", draft("a"))

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(GalleryError) as caught:
            gallery.add("kim", draft("b"))
    assert caught.value.reason == reason
    assert names(gallery) == ["a"]
    assert len(folders(gallery)) == 1
    gallery.add("kim", draft("c"))  # the disk is back
    assert names(gallery) == ["c", "a"]


def test_a_full_database_is_told_and_the_files_of_the_new_edit_go(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, LARGE, Clock())
    gallery.add("kim", draft("a"))
    opened = sqlite3.connect

    class Small:
        """SQLite's own limit stands for a full disk."""

        def __call__(self, *args: Any, **options: Any) -> sqlite3.Connection:
            database: sqlite3.Connection = opened(*args, **options)
            [pages] = database.execute("PRAGMA page_count").fetchone()
            database.execute(f"PRAGMA max_page_count = {pages}")
            return database

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sqlite3, "connect", Small())
        with pytest.raises(GalleryError) as caught:
            gallery.add("kim", replace(draft("b"), thumb=b"t" * 50_000))
    assert caught.value.reason == "full"
    assert names(gallery) == ["a"]
    assert len(folders(gallery)) == 1


def test_a_folder_that_is_none_and_a_file_that_is_no_database_are_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "gallery.sqlite").write_bytes(b"no database at all, but long enough to be read as one" * 20)
    for folder in (tmp_path / "file", tmp_path):
        gallery = Gallery(folder, LARGE)
        for act in (lambda gallery=gallery: names(gallery), lambda gallery=gallery: gallery.add("kim", draft("a"))):
            with pytest.raises(GalleryError) as caught:
                act()
            assert caught.value.reason == "broken"


def test_a_gallery_of_another_version_is_not_touched(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, LARGE)
    gallery.add("kim", draft("a"))
    database = sqlite3.connect(tmp_path / "gallery.sqlite")
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(GalleryError, match="schema 2"):
        names(gallery)


def test_ids_and_names_never_lead_out_of_the_folder(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "gallery", LARGE)
    (tmp_path / "secret").mkdir()
    gallery.add("../kim", draft("../../x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery", "secret"]
    assert gallery.entry("../kim", "../../secret") is None
    gallery.delete("../kim", "../../secret")
    assert (tmp_path / "secret").is_dir()
    [entry], _ = gallery.entries("../kim", count=1)
    for id in ("../../secret", "..", "", f"{entry.id}/..", entry.id.upper() + "\n"):
        with pytest.raises(GalleryError, match="not an id"):
            gallery.files(replace(entry, id=id))
    with pytest.raises(ValueError, match="not a file name"):
        gallery.add("kim", replace(draft("b"), files={"../x": b""}))


def test_what_a_crash_left_is_swept_when_it_is_old_and_nothing_else_is(tmp_path: Path) -> None:
    first = Gallery(tmp_path, LARGE)
    first.add("kim", draft("a"))
    [kept] = folders(first)
    old = time.time() - 2 * store.ORPHAN_SECONDS
    for name in ("b" * 32, "c" * 32 + ".part", "d" * 32, "somebody's"):
        path = tmp_path / "edits" / name
        path.mkdir()
        (path / "file").write_bytes(b"")
        if not name.startswith("d"):
            os.utime(path, (old, old))
    os.utime(tmp_path / "edits" / kept, (old, old))
    again = Gallery(tmp_path, LARGE)
    assert names(again) == ["a"]
    assert set(folders(again)) == {kept, "d" * 32, "somebody's"}


def test_two_pages_may_write_into_one_folder(tmp_path: Path) -> None:
    pages = [Gallery(tmp_path, LARGE), Gallery(tmp_path, LARGE)]
    for number, page in enumerate(pages * 3):
        page.add("kim", draft(str(number)))
    assert all(sorted(names(page)) == list("012345") for page in pages)
