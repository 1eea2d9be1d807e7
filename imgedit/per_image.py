"""Per-image inputs of a batch: masks from a folder, prompts from a CSV file."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from imgedit.arguments import UINT32
from imgedit.batch import ENDINGS, Job

SHOWN = 5
"""Names that a message lists at most."""

COLUMNS = ("picture", "prompt", "negative_prompt", "seed")
ENCODINGS = ("utf-8-sig", "cp949")
"""In the order in which they are tried; the second is what Excel writes in Korea."""

DELIMITERS = ",;\t"


class PerImageError(ValueError):
    """A folder of masks or a file of prompts that does not fit the images."""


def with_masks(jobs: Sequence[Job], masks: Path, *, recursive: bool) -> list[Job]:
    """Each job with its mask.

    The file of the same name in `masks`, with any extension. recursive: look for surplus masks in subfolders, too.

    Raises `PerImageError` that lists each picture without a mask or with several, and each mask without a picture.
    """
    found = _masks_by_name(masks, recursive=recursive)
    names = [_without_ending(job.name) for job in jobs]
    missing = [job.name for job, name in zip(jobs, names, strict=True) if name not in found]
    several = [job.name for job, name in zip(jobs, names, strict=True) if len(found[name]) > 1]
    surplus = [_relative(file, masks) for name in sorted(set(found) - set(names)) for file in found[name]]
    faults = [
        *([f"no mask in {masks} for {', '.join(missing)}"] if missing else []),
        *([f"more than one mask in {masks} for {', '.join(several)}"] if several else []),
        *([f"no picture for the mask {', '.join(surplus)}"] if surplus else []),
    ]
    if faults:
        raise PerImageError(f"--masks: {'; '.join(faults)}; a mask has its picture's name")
    return [_asking(job, {"mask": found[name][0]}) for job, name in zip(jobs, names, strict=True)]


def with_prompts(jobs: Sequence[Job], file: Path, *, has_prompt: bool) -> list[Job]:
    """Each job with its line of the CSV file.

    The first line names the columns: picture and prompt, optionally negative_prompt and seed. An empty field counts as
    unset. has_prompt: images without a line use the command's prompt.

    Raises `PerImageError` that lists each fault with its line and column, or each image without a prompt.
    """
    asked = _read(file, {job.name for job in jobs})
    if not has_prompt and (missing := [job.name for job in jobs if "prompt" not in asked.get(job.name, {})]):
        raise PerImageError(f"--prompts: no prompt for {', '.join(missing)}; --prompt is for those without a line")
    return [_asking(job, asked.get(job.name, {})) for job in jobs]


def _masks_by_name(masks: Path, *, recursive: bool) -> defaultdict[str, list[Path]]:
    """The mask files by their path within the folder, without the ending."""
    found: defaultdict[str, list[Path]] = defaultdict(list)
    for path in sorted(masks.rglob("*") if recursive else masks.glob("*")):
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file():
            found[_without_ending(_relative(path, masks))].append(path)
    return found


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _without_ending(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()


def _asking(job: Job, own: dict[str, Any]) -> Job:
    return replace(job, own={**job.own, **own})


def _read(file: Path, pictures: Set[str]) -> dict[str, dict[str, Any]]:
    """The options of each line, by image name."""
    text = _text_of(file)
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    faults: list[str] = []
    asked: dict[str, dict[str, Any]] = {}
    lines: dict[str, int] = {}
    try:
        reader.fieldnames = _columns(file, reader.fieldnames or ())
        for row in reader:
            place = f"{file}:{reader.line_num}"
            name, own, wrong = _of_row(place, row)
            if name in lines:
                wrong.append(f"{place}: column picture: {name} is in line {lines[name]}, too")
            elif name and name not in pictures:
                wrong.append(f"{place}: column picture: the folder has no {name}")
            faults += wrong
            lines.setdefault(name, reader.line_num)
            asked[name] = own
    except csv.Error as error:
        faults.append(f"{file}: after line {reader.line_num}: {error}")
    if faults:
        raise PerImageError(f"--prompts: {'; '.join(faults)}")
    return asked


def _columns(file: Path, given: Sequence[str]) -> list[str]:
    """The names of the columns.

    Raises `PerImageError` for an unknown, a second or a missing one.
    """
    columns = [name.strip().lower() for name in given]
    faults = [
        f"column {place} is {name!r}" + (", as is an earlier one" if name in COLUMNS else "")
        for place, name in enumerate(columns, start=1)
        if name not in COLUMNS or name in columns[: place - 1]
    ]
    if "picture" not in columns:
        faults.append("no column is 'picture'")
    if faults:
        raise PerImageError(
            f"--prompts: {file}:1: {'; '.join(faults)}; the first line must name columns of {', '.join(COLUMNS)}"
        )
    return columns


def _of_row(place: str, row: dict[str | None, str | list[str] | None]) -> tuple[str, dict[str, Any], list[str]]:
    """Name, options and faults of one line."""
    faults: list[str] = []
    if surplus := row.get(None):
        columns = len(row) - 1
        faults.append(
            f"{place}: column {columns + 1}: the first line names {columns} columns, this one has "
            f"{columns + len(surplus)} fields; quote a text with a delimiter"
        )
    said = {key: value.strip() for key, value in row.items() if key and isinstance(value, str) and value.strip()}
    if "picture" not in said:
        faults.append(f"{place}: column picture: is empty")
    own: dict[str, Any] = {name: said[name] for name in ("prompt", "negative_prompt") if name in said}
    if "seed" in said:
        if said["seed"].isascii() and said["seed"].isdigit() and int(said["seed"][:11]) <= UINT32[1]:
            own["seed"] = int(said["seed"])
        else:
            faults.append(f"{place}: column seed: must be 0 to {UINT32[1]}, is {said['seed'][:40]!r}")
    name = said.get("picture", "").replace("\\", "/")
    return PurePosixPath(name).as_posix() if name else "", own, faults


def _text_of(file: Path) -> str:
    data = file.read_bytes()
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise PerImageError(f"--prompts: {file}: is neither UTF-8 nor CP949 text; save it as CSV in UTF-8")


def listed(names: Iterable[str]) -> str:
    """The first few names, and the number of others."""
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
