"""`imgedit batch` as people run it.

Many files, a broken one, an end in the middle, and on again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from services.orchestrator.catalogue.models import SHIPPED
from tests.support.waiting import wait_for

from .conftest import RunningStack
from .orchestrators import start

OPTIONS = ("-e", "ben2_flux_fill", "-p", "a gym", "--steps", "10", "--strength", "0.3", "--seed", "7")


@pytest.fixture
def folder(tmp_path: Path, photo: Path) -> Path:
    """Five images in four name formats, one broken, one in a subfolder."""
    pictures = tmp_path / "pictures"
    (pictures / "below").mkdir(parents=True)
    with Image.open(photo) as opened:
        small = opened.resize((128, 160))
    small.save(pictures / "a.png")
    small.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(pictures / "b.JPG", "JPEG")
    small.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(pictures / "c.webp")
    small.save(pictures / "below" / "d.jpeg")
    (pictures / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    return pictures


def arguments_of(folder: Path, out: Path, *more: str) -> list[str]:
    return [str(Path(sys.executable).parent / "imgedit"), "batch", str(folder), "--out", str(out), *OPTIONS, *more]


def run(target: str, folder: Path, out: Path, *more: str, lang: str = "C.UTF-8") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "IMGEDIT_TARGET": target, "COLUMNS": "200", "LANG": lang}
    return subprocess.run(
        arguments_of(folder, out, *more), env=environment, capture_output=True, text=True, timeout=200, check=False
    )


def summary(done: subprocess.CompletedProcess[str]) -> dict:
    return json.loads(done.stdout)


def test_a_batch_edits_what_it_can_and_the_next_run_only_what_is_missing(
    stack: RunningStack, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = run(stack.target, folder, out, "--recursive")
    assert first.returncode == 3, first.stderr
    assert "broken.jpg" in first.stderr
    assert "Traceback" not in first.stderr
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png"))
    assert names == ["a.png", "b.png", "below/d.png", "c.png"]
    assert not list(out.rglob("*.part"))
    for name in names:
        with Image.open(out / name) as result:
            assert result.size == (128, 160)

    before = {name: (out / name).stat().st_mtime_ns for name in names}
    (out / "c.png").unlink()
    again = run(stack.target, folder, out, "--recursive", "--json")
    assert again.returncode == 3
    found = summary(again)
    assert (found["done"], found["skipped"], found["not_tried"]) == (1, 3, 0)
    [failed] = found["failed"]
    assert (failed["name"], failed["code"], failed["reason"]) == ("broken.jpg", "INVALID_ARGUMENT", "IMAGE_REJECTED")
    assert failed["request_id"]
    assert all((out / name).stat().st_mtime_ns == before[name] for name in names if name != "c.png")

    (folder / "broken.jpg").unlink()
    whole = run(stack.target, folder, out, "--recursive", "--json")
    assert whole.returncode == 0
    assert summary(whole)["skipped"] == 4
    other = run(stack.target, folder, out, "--recursive", "--json", "--negative-prompt", "blurry")
    assert summary(other)["done"] == 4


def test_results_have_the_format_that_is_asked_for_and_korean_messages(
    stack: RunningStack, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = run(stack.target, folder, out, "--format", "webp", "--quality", "80", "-n", "2", lang="ko_KR.UTF-8")
    assert done.returncode == 3
    assert "이미지" in done.stderr
    for name in ("a.webp", "b.webp", "c.webp"):
        with Image.open(out / name) as result:
            assert result.format == "WEBP"
    assert "이미지" not in run(stack.target, folder, out, "--lang", "en", lang="ko_KR.UTF-8").stderr


def test_an_option_that_fails_for_all_ends_the_batch_at_once(stack: RunningStack, folder: Path, tmp_path: Path) -> None:
    done = run(stack.target, folder, tmp_path / "out", "-e", "no_such", "--json", "-n", "1")
    assert done.returncode == 1
    assert summary(done)["not_tried"] == 3
    assert summary(done)["failed"][0]["reason"] == "EXPERIMENT_NOT_FOUND"


def test_what_cannot_be_a_batch_is_refused(stack: RunningStack, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for pictures, out, code, said in (
        (empty, tmp_path / "out", 1, "holds no PNG"),
        (tmp_path / "none", tmp_path / "out", 1, "no folder"),
        (folder, folder, 2, "another folder"),
    ):
        done = run(stack.target, pictures, out)
        assert done.returncode == code
        assert said in done.stderr
    assert run("127.0.0.1:1", folder, tmp_path / "out", "--mask", "none.png").returncode == 1


def test_a_server_that_is_killed_in_the_middle_ends_the_batch_which_goes_on_later(
    stack: RunningStack, folder: Path, tmp_path: Path
) -> None:
    for number in range(8):
        shutil.copy(folder / "a.png", folder / f"x{number}.png")
    out, environment = tmp_path / "out", {**os.environ, "COLUMNS": "200"}
    running = start(stack.ports, SHIPPED, tmp_path)
    try:
        batch = subprocess.Popen(
            [*arguments_of(folder, out, "-n", "1", "--json"), "--target", running.target],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: list(out.glob("*.png")))
    finally:
        running.process.kill()
        running.process.wait()
    printed, _ = batch.communicate(timeout=120)
    assert batch.returncode == 3
    found = json.loads(printed)
    assert found["not_tried"] > 0
    assert found["done"] == len(list(out.glob("*.png"))) >= 1
    lost = [failure for failure in found["failed"] if failure["reason"] == "SERVICE_UNAVAILABLE"]
    assert len(lost) == 3
    rest = run(stack.target, folder, out, "--json")
    assert (rest.returncode, summary(rest)["skipped"]) == (3, found["done"])
    assert summary(rest)["done"] + found["done"] == 11


def test_ctrl_c_ends_a_batch_cleanly_and_the_next_run_goes_on(
    stack: RunningStack, folder: Path, tmp_path: Path
) -> None:
    for number in range(8):
        shutil.copy(folder / "a.png", folder / f"x{number}.png")
    (folder / "broken.jpg").unlink()
    out = tmp_path / "out"
    environment = {**os.environ, "IMGEDIT_TARGET": stack.target}
    batch = subprocess.Popen(
        arguments_of(folder, out, "-n", "2", "--json"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: list(out.glob("*.png")))
    batch.send_signal(signal.SIGINT)
    printed, complaints = batch.communicate(timeout=60)
    assert batch.returncode == 130
    assert "Traceback" not in complaints
    found = json.loads(printed)
    assert found["interrupted"]
    assert found["not_tried"] > 0
    assert not list(out.rglob("*.part"))
    rest = run(stack.target, folder, out, "--json")
    assert rest.returncode == 0
    assert summary(rest)["skipped"] >= found["done"] >= 1
    assert summary(rest)["done"] + summary(rest)["skipped"] == 11
