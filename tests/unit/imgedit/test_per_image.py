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
    for name in ("a.png", "below/b.PNG", "여행 사진.webp", "a.txt", ".hidden.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def csv(folder: Path, text: str, encoding: str = "utf-8") -> Path:
    path = folder / "prompts.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_a_mask_has_its_pictures_name_whatever_its_ending(masks: Path) -> None:
    found = [job.own["mask"] for job in with_masks(jobs(), masks, recursive=True)]
    assert found == [masks / "a.png", masks / "below" / "b.PNG", masks / "여행 사진.webp"]


def test_every_missing_second_and_surplus_mask_is_listed(masks: Path) -> None:
    (masks / "below" / "b.jpg").write_bytes(b"")
    (masks / "a.png").unlink()
    (masks / "여행 사진.webp").unlink()
    surplus = [f"other-{number}.png" for number in range(7)]
    for name in (*surplus, "below/other.jpg"):
        (masks / name).write_bytes(b"")
    with pytest.raises(PerImageError) as raised:
        with_masks(jobs(), masks, recursive=True)
    assert str(raised.value) == (
        f"--masks: no mask in {masks} for a.jpg, 여행 사진.jpg; more than one mask in {masks} for below/b.png; "
        f"no picture for the mask below/other.jpg, {', '.join(surplus)}; a mask has its picture's name"
    )


def test_masks_of_subfolders_are_no_surplus_where_subfolders_are_not_edited(masks: Path) -> None:
    found = with_masks([job for job in jobs() if "/" not in job.name], masks, recursive=False)
    assert [job.own["mask"].name for job in found] == ["a.png", "여행 사진.webp"]


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
    found = with_prompts(with_masks(jobs(), masks, recursive=True), path, has_prompt=True)
    assert [sorted(job.own) for job in found] == [["mask", "prompt"], ["mask"], ["mask"]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("picture,prompt\nz.jpg,x\n", ":2: column picture: the folder has no z.jpg"),
        ("picture,prompt\na.jpg,x\na.jpg,y\n", ":3: column picture: a.jpg is in line 2, too"),
        ("picture,text\na.jpg,x\n", ":1: column 2 is 'text'; the first line must name columns of picture, prompt"),
        ("picture,prompt,Prompt\na.jpg,x,y\n", ":1: column 3 is 'prompt', as is an earlier one;"),
        ("prompt\nx\n", ":1: no column is 'picture';"),
        ("", ":1: no column is 'picture';"),
        ("picture,prompt\na.jpg,a gym, bright\n", ":2: column 3: the first line names 2 columns, this one has 3"),
        ("picture,prompt\n,x\n", ":2: column picture: is empty"),
        ("picture,prompt,seed\na.jpg,x,-1\n", ":2: column seed: must be 0 to 4294967295, is '-1'"),
        ("picture,prompt,seed\na.jpg,x,4294967296\n", ":2: column seed: must be"),
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


def test_every_fault_of_a_table_is_listed(tmp_path: Path) -> None:
    path = csv(tmp_path, "picture,prompt,seed\nz.jpg,x,seven\n,y,\na.jpg,a, b, c, d\n")
    with pytest.raises(PerImageError) as raised:
        with_prompts(jobs(), path, has_prompt=True)
    places = [fault.removeprefix(f"{path}:").split(": ")[:2] for fault in str(raised.value)[11:].split("; ")]
    assert [place for place in places if place[0].isdigit()] == [
        ["2", "column seed"],
        ["2", "column picture"],
        ["3", "column picture"],
        ["4", "column 4"],
        ["4", "column seed"],
    ]
