"""A mask and a prompt for each picture of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgedit.batch import Job
from imgedit.per_image import PerImageError, with_masks, with_prompts

NAMES = ("a.jpg", "below/b.png", "여행 사진.jpg")


def jobs() -> list[Job]:
    return [Job(Path("/pictures") / name, name, Path("/out") / name) for name in NAMES]


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    folder = tmp_path / "masks"
    for name in ("a.png", "below/b.PNG", "여행 사진.webp", "a.txt", "other.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "prompts.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_mask_has_its_pictures_name_whatever_its_ending(masks: Path) -> None:
    found = [job.own["mask"] for job in with_masks(jobs(), masks)]
    assert found == [masks / "a.png", masks / "below" / "b.PNG", masks / "여행 사진.webp"]


def test_a_picture_without_a_mask_or_with_two_is_named(masks: Path) -> None:
    (masks / "below" / "b.jpg").write_bytes(b"")
    with pytest.raises(PerImageError, match=r"more than one mask .* for below/b.png$"):
        with_masks(jobs(), masks)
    (masks / "a.png").unlink()
    with pytest.raises(PerImageError, match=r"no mask .* for a.jpg;"):
        with_masks(jobs(), masks)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_prompts_come_from_tables_as_programs_write_them(
    tmp_path: Path, delimiter: str, encoding: str, end: str
) -> None:
    rows = [
        ("Picture", "prompt", "seed", "negative_prompt"),
        ("a.jpg", '"a gym, with ""GYM"" on it; bright"', "7", ""),
        ("below\\b.png", "배경을 해변으로 변경", "", "blurry"),
        ("여행 사진.jpg", "밤하늘", "", ""),
    ]
    path = csv(tmp_path, end.join(delimiter.join(row) for row in rows) + end, encoding)
    assert [dict(job.own) for job in with_prompts(jobs(), path, has_prompt=False)] == [
        {"prompt": 'a gym, with "GYM" on it; bright', "seed": 7},
        {"prompt": "배경을 해변으로 변경", "negative_prompt": "blurry"},
        {"prompt": "밤하늘"},
    ]


def test_a_picture_without_a_line_needs_the_commands_prompt(tmp_path: Path, masks: Path) -> None:
    path = csv(tmp_path, "picture,prompt\na.jpg,a gym\n")
    with pytest.raises(PerImageError, match=r"no prompt for below/b.png, 여행 사진.jpg;"):
        with_prompts(jobs(), path, has_prompt=False)
    found = with_prompts(with_masks(jobs(), masks), path, has_prompt=True)
    assert [sorted(job.own) for job in found] == [["mask", "prompt"], ["mask"], ["mask"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,prompt\nz.jpg,x\n", "no z.jpg .line 2."),
        ("picture,prompt\na.jpg,x\na.jpg,y\n", ":3: a.jpg is in line 2, too"),
        ("name,text\na.jpg,x\n", ":1: the first line must name columns of picture, prompt"),
        ("", ":1: the first line"),
        ("picture,prompt\na.jpg,a gym, bright\n", ":2: more fields than columns"),
        ("picture,prompt\n,x\n", ":2: names no picture"),
        ("picture,prompt,seed\na.jpg,x,-1\n", ":2: seed must be 0 to 4294967295, is '-1'"),
        ("picture,prompt,seed\na.jpg,x,4294967296\n", ":2: seed must be"),
        ('picture,prompt\na.jpg,"x\n', ": after line 1: unexpected end of data"),
    ],
)
def test_a_table_at_fault_is_refused_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(PerImageError, match=said):
        with_prompts(jobs(), csv(tmp_path, text), has_prompt=True)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.csv"
    path.write_bytes(b"picture,prompt\n\xff\xfe\xff,x\n")
    with pytest.raises(PerImageError, match="neither UTF-8 nor CP949"):
        with_prompts(jobs(), path, has_prompt=True)
