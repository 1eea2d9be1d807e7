"""Per-image inputs of a batch: masks from a folder, prompts from a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from imgedit.batch import ENDINGS, Job

SHOWN = 5
"""Names that a message lists at most."""

COLUMNS = ("picture", "prompt", "negative_prompt", "seed")
ENCODINGS = ("utf-8-sig", "cp949")
"""In the order in which they are tried; the second is what Excel writes in Korea."""

DELIMITERS = ",;\t"


class PerPictureError(ValueError):
    """A folder of masks or a file of prompts that does not fit the images."""


def with_masks(jobs: Sequence[Job], masks: Path) -> list[Job]:
    """Each job with its mask.

    The file of the same name in `masks`, with any extension.

    Raises `PerPictureError` if an image has none or several.
    """
    found = [(job, _masks_of(job, masks)) for job in jobs]
    if missing := [job.name for job, files in found if not files]:
        raise PerPictureError(f"--masks: no mask in {masks} for {listed(missing)}; a mask has its picture's name")
    if several := [job.name for job, files in found if len(files) > 1]:
        raise PerPictureError(f"--masks: more than one mask in {masks} for {listed(several)}")
    return [_asking(job, {"mask": files[0]}) for job, files in found]


def with_prompts(jobs: Sequence[Job], file: Path, *, has_prompt: bool) -> list[Job]:
    """Each job with its line of the CSV file.

    The first line names the columns: picture and prompt, optionally negative_prompt and seed. An empty field counts as
    unset. has_prompt: images without a line use the command's prompt. Raises `PerPictureError`, which names the line.
    """
    asked = _read(file)
    names = {job.name for job in jobs}
    if unknown := [f"{name} (line {line})" for name, (line, _) in asked.items() if name not in names]:
        raise PerPictureError(f"--prompts: the folder has no {listed(unknown)}")
    if not has_prompt and (missing := [job.name for job in jobs if "prompt" not in _said(asked, job)]):
        raise PerPictureError(f"--prompts: no prompt for {listed(missing)}; --prompt is for those without a line")
    return [_asking(job, _said(asked, job)) for job in jobs]


def _masks_of(job: Job, masks: Path) -> list[Path]:
    base = masks / PurePosixPath(job.name)
    inside = base.parent.iterdir() if base.parent.is_dir() else ()
    return sorted(path for path in inside if path.stem == base.stem and path.suffix.lower() in ENDINGS)


def _asking(job: Job, own: dict[str, Any]) -> Job:
    return replace(job, own={**job.own, **own})


def _said(asked: dict[str, tuple[int, dict[str, Any]]], job: Job) -> dict[str, Any]:
    return asked[job.name][1] if job.name in asked else {}


def _read(file: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """The lines and their options, by image name."""
    text = _text_of(file)
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns = [name.strip().lower() for name in reader.fieldnames or ()]
    if "picture" not in columns or not set(columns) <= set(COLUMNS):
        raise PerPictureError(
            f"--prompts: {file}:1: the first line must name columns of {', '.join(COLUMNS)}; it has {header.strip()!r}"
        )
    reader.fieldnames = columns
    asked: dict[str, tuple[int, dict[str, Any]]] = {}
    try:
        for row in reader:
            name, own = _of_row(file, reader.line_num, row)
            if name in asked:
                raise PerPictureError(f"--prompts: {file}:{reader.line_num}: {name} is in line {asked[name][0]}, too")
            asked[name] = (reader.line_num, own)
    except csv.Error as error:
        raise PerPictureError(f"--prompts: {file}: after line {reader.line_num}: {error}") from None
    return asked


def _of_row(file: Path, line: int, row: dict[str | None, str | list[str] | None]) -> tuple[str, dict[str, Any]]:
    if None in row:
        raise PerPictureError(f"--prompts: {file}:{line}: more fields than columns; quote a text with a delimiter")
    said = {key: value.strip() for key, value in row.items() if key and isinstance(value, str) and value.strip()}
    if "picture" not in said:
        raise PerPictureError(f"--prompts: {file}:{line}: names no picture")
    own: dict[str, Any] = {}
    if "prompt" in said:
        own["prompt"] = said["prompt"]
    if "negative_prompt" in said:
        own["negative_prompt"] = said["negative_prompt"]
    if "seed" in said:
        if not said["seed"].isascii() or not said["seed"].isdigit() or int(said["seed"][:11]) >= 2**32:
            raise PerPictureError(f"--prompts: {file}:{line}: seed must be 0 to {2**32 - 1}, is {said['seed'][:40]!r}")
        own["seed"] = int(said["seed"])
    return PurePosixPath(said["picture"].replace("\\", "/")).as_posix(), own


def _text_of(file: Path) -> str:
    data = file.read_bytes()
    for encoding in ENCODINGS:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise PerPictureError(f"--prompts: {file}: is neither UTF-8 nor CP949 text; save it as CSV in UTF-8")


def listed(names: Iterable[str]) -> str:
    """The first few names, and the number of others."""
    found = list(names)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more
