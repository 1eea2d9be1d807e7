"""Files and terminals as other people have them.

CP949 names and encodings, .jfif, folders that cannot be written.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from imgedit import output_files
from tests.integration.edit_server import RESULT, EditServer, edit_server
from tests.integration.test_command_line import NOBODY, environment

pytestmark = pytest.mark.slow

CP949_NAME = os.fsdecode("여행사진.jpg".encode("cp949"))
EXTENSION = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
ASKED = ("-e", "x", "-p", "y")


@pytest.fixture
def server() -> Iterator[EditServer]:
    with edit_server() as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    return folder


def picture(kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, kind)
    return buffer.getvalue()


def imgedit(*arguments: str | Path, **further: str) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        ["imgedit", *arguments], env=environment(**further), capture_output=True, timeout=120, check=False
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode(errors="replace")
    return done


def batch(server: EditServer, folder: Path, *further: str, **variables: str) -> tuple[int, dict[str, object], str]:
    out = folder.parent / "out"
    command = ("batch", folder, "--out", out, *ASKED, "--target", server.address, "--json", *further)
    done = imgedit(*command, **variables)
    return done.returncode, json.loads(done.stdout), done.stderr.decode(errors="replace")


def test_what_a_strangers_file_says_controls_no_terminal(tmp_path: Path) -> None:
    said = "\x1b]0;title\x07 \x9b2J \u202e [/red] 배경"
    parts = {"generator": said, "experiment_id": said, "request": {}, "effective": {said: said}, "inputs": {said: said}}
    source = f"<e:DigitalSourceType xmlns:e='{EXTENSION}'>[/red]&#x9b;2J</e:DigitalSourceType>"
    record = f"<p:Parameters xmlns:p='urn:imgedit:ns:1.0:'>{json.dumps(parts)}</p:Parameters>"
    for number, parts_of_file in enumerate((source, source + record)):
        file = tmp_path / f"{number}.png"
        file.write_text(f"<x:xmpmeta xmlns:x='adobe:ns:meta/'>{parts_of_file}</x:xmpmeta>", encoding="utf-8")
        done = imgedit("inspect", file)
        shown = (done.stdout + done.stderr).decode()
        assert "[/red]" in shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert "배경" in shown


def test_a_name_in_another_encoding_ends_no_batch_and_is_done_once(server: EditServer, folder: Path) -> None:
    for name in (CP949_NAME, "a.jpg", "z.jpg"):
        (folder / name).write_bytes(picture())
    code, summary, _ = batch(server, folder)
    assert (code, summary["done"], summary["failed"]) == (0, 3, [])
    assert (folder.parent / "out" / CP949_NAME).with_suffix(".png").read_bytes() == RESULT
    code, summary, _ = batch(server, folder)
    assert (code, summary["skipped"]) == (0, 3)


@pytest.mark.parametrize("encoding", ["utf-8", "cp949", "ascii"])
def test_a_picture_that_fails_ends_no_other_whatever_its_name(server: EditServer, folder: Path, encoding: str) -> None:
    (folder / "a.jpg").write_bytes(picture())
    (folder / CP949_NAME).symlink_to("/proc/self/mem")  # a file that can be opened and not read
    (folder / "사진 – é.jpg").write_bytes(picture())
    code, summary, _ = batch(server, folder, PYTHONIOENCODING=encoding)
    assert (code, summary["done"]) == (3, 2)
    [failed] = summary["failed"]  # type: ignore[misc]
    assert failed["name"] == CP949_NAME  # type: ignore[index]
    out = folder.parent / "out2"
    done = imgedit("batch", folder, "--out", out, *ASKED, "--target", server.address, PYTHONIOENCODING=encoding)
    assert done.returncode == 3
    assert rb"\xbf\xa9" in done.stderr


def test_what_is_a_picture_is_decided_by_content_and_the_rest_is_named(server: EditServer, folder: Path) -> None:
    files = {"a.jfif": "JPEG", "b.JPE": "JPEG", "c": "PNG", "d.v2": "WEBP", "e.gif": "GIF", "f.bmp": "BMP"}
    for name, kind in files.items():
        (folder / name).write_bytes(picture(kind))
    (folder / "notes.txt").write_text("RIFF and others")
    (folder / ".hidden.jfif").write_bytes(picture())
    code, summary, _ = batch(server, folder)
    assert (code, summary["done"]) == (0, 4)
    assert summary["left_out"] == ["e.gif", "f.bmp", "notes.txt"]
    assert {path.name for path in (folder.parent / "out").glob("*.png")} == {"a.png", "b.png", "c.png", "d.png"}
    done = imgedit("batch", folder, "--out", folder.parent / "out", *ASKED, "--target", server.address)
    assert b"left out, neither PNG, JPEG nor WebP: e.gif, f.bmp, notes.txt" in done.stderr


@pytest.mark.parametrize("option", ["--output", "--cutout", "--mask-output"])
@pytest.mark.parametrize("place", ["photo.png/x.png", "folder.png", "/proc/x.png", "n" * 300 + ".png"])
def test_a_result_that_cannot_be_written_is_found_before_the_edit(
    server: EditServer, tmp_path: Path, option: str, place: str
) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("PNG"))
    (tmp_path / "folder.png").mkdir()
    done = imgedit("edit", photo, *ASKED, "--target", server.address, option, tmp_path / place, "--json")
    assert done.returncode == 1
    assert "cannot write" in json.loads(done.stdout)["error"]["message"]
    assert server.seen == []


def test_a_batch_whose_folder_cannot_be_written_ends_before_any_edit(server: EditServer, folder: Path) -> None:
    (folder / "a.jpg").write_bytes(picture())
    done = imgedit("batch", folder, "--out", folder / "a.jpg", *ASKED, "--target", server.address, "--json")
    assert done.returncode == 1
    assert "--out" in json.loads(done.stdout)["error"]["message"]
    assert server.seen == []


@pytest.mark.parametrize("as_json", [True, False])
def test_a_result_that_cannot_be_written_in_the_end_is_kept_elsewhere(
    server: EditServer, tmp_path: Path, as_json: bool
) -> None:
    photo, out = tmp_path / "photo.png", tmp_path / "out"
    photo.write_bytes(picture("PNG"))
    kept = tmp_path / "kept"
    kept.mkdir()

    def take_the_place() -> None:
        out.write_bytes(b"a file where the folder would be")

    server.before = take_the_place
    further = ("--json",) if as_json else ()
    target = ("--target", server.address, "-o", out / "x.png", *further)
    done = imgedit("edit", photo, *ASKED, *target, TMPDIR=str(kept))
    assert done.returncode == 1
    [file] = kept.glob("imgedit-*.png")
    assert file.read_bytes() == RESULT
    said = json.loads(done.stdout)["error"]["message"] if as_json else done.stderr.decode()
    assert f"the result is kept in {file}" in said


def test_files_of_one_edit_have_different_names(server: EditServer, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("PNG"))
    same = ("-o", tmp_path / "x.png", "--cutout", tmp_path / "x.png")
    assert imgedit("edit", photo, *ASKED, "--target", server.address, *same).returncode == 2
    assert server.seen == []


def test_a_long_name_is_written_and_a_failed_one_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 251 + ".png")
    output_files.check(path)
    output_files.write(path, b"one")
    assert path.read_bytes() == b"one"
    assert path.stat().st_mode & 0o777 == 0o666 & ~output_files._umask()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_what_is_kept_says_so_where_no_folder_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match="the result is kept in") as caught:
        output_files.write_or_keep(Path("/proc/x.png"), b"one")
    assert caught.value.filename == "/proc/x.png"
    assert [file.read_bytes() for file in tmp_path.glob("imgedit-*.png")] == [b"one"]


@pytest.mark.parametrize("encoding", ["cp949:strict", "ascii"])
@pytest.mark.parametrize(
    "command",
    [
        ("--help",),
        ("batch", "--help"),
        ("experiments",),
        ("experiments", "--json"),
        ("health",),
        ("models", "list"),
        ("catalogue", "schema"),
        ("edit", "없는 – é.png", *ASKED),
        ("edit", "없는 – é.png", *ASKED, "--json"),
    ],
    ids=" ".join,
)
def test_no_command_ends_by_a_terminals_encoding(server: EditServer, encoding: str, command: tuple[str, ...]) -> None:
    target = (
        ("--target", server.address)
        if command[0] in ("edit", "experiments", "health") and "--help" not in command
        else ()
    )
    done = imgedit(*command, *target, PYTHONIOENCODING=encoding)
    assert b"UnicodeEncodeError" not in done.stderr
    if "--json" in command or command == ("catalogue", "schema"):
        json.loads(done.stdout.decode(encoding.partition(":")[0]))
    if command == ("experiments",) and encoding.startswith("cp949"):
        assert "이미지 편집" in done.stdout.decode("cp949")


def test_an_edit_ends_well_on_a_terminal_that_lacks_its_words(server: EditServer, tmp_path: Path) -> None:
    photo = tmp_path / "사진 – é.png"
    photo.write_bytes(picture("PNG"))
    done = imgedit("edit", photo, *ASKED, "--target", server.address, "--lang", "ko", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert Path(os.fsdecode(done.stdout.removesuffix(b"\n"))).read_bytes() == RESULT
    nobody = imgedit(
        "edit", photo, *ASKED, "--target", NOBODY, "--timeout", "3", "--lang", "ko", PYTHONIOENCODING="ascii"
    )
    assert nobody.returncode == 4


def test_a_prompt_that_is_no_text_is_refused_by_its_option(server: EditServer, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(picture("PNG"))
    prompt = os.fsdecode("배경".encode("cp949"))
    done = imgedit("edit", photo, "-e", "x", "-p", prompt, "--target", server.address)
    assert done.returncode == 2
    assert b"--prompt: character 1 is not text in utf-8" in done.stderr


def test_each_picture_of_a_batch_has_its_own_mask_and_prompt(server: EditServer, folder: Path, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    for name, colour in (("a", "white"), ("b", "black")):
        (folder / f"{name}.jpg").write_bytes(picture())
        Image.new("L", (64, 64), colour).save(masks / f"{name}.png")
    table = tmp_path / "prompts.csv"
    table.write_text("picture,prompt\nb.jpg,밤하늘\n", encoding="cp949")
    code, summary, told = batch(server, folder, "--masks", str(masks), "--prompts", str(table))
    assert (code, summary["done"]) == (0, 2), told
    asked = {request.prompt: request.mask_image for request in server.seen}
    assert asked == {"y": (masks / "a.png").read_bytes(), "밤하늘": (masks / "b.png").read_bytes()}
    assert batch(server, folder, "--masks", str(masks), "--prompts", str(table))[1]["skipped"] == 2
    (masks / "b.png").unlink()
    code, refused, _ = batch(server, folder, "--masks", str(masks))
    assert code == 1
    assert "b.jpg" in str(refused["error"])
    assert len(server.seen) == 2
