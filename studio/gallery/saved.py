"""A result as it is written into the gallery, and read again.

The options become JSON and files; the answer keeps its message. Does not import Streamlit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, cast

from google.protobuf.message import DecodeError

from imgedit.request import EditOptions
from imgedit.v1 import edit_pb2
from imgedit.values import Lora, Mask, Outpaint, Output
from studio import input_images, runs
from studio.gallery.store import Draft, Entry, GalleryError
from studio.runs import Result, Task

_VALUES: dict[str, type[Any]] = {"mask_options": Mask, "outpaint": Outpaint, "output": Output}
_PICTURES = {"result": "output_image", "cutout": "background_removed_image", "mask": "mask_image"}
"""The file of each picture of an answer."""


def draft(result: Result) -> Draft:
    """The files and details of a result."""
    answer = edit_pb2.EditResponse()
    answer.CopyFrom(result.answer)
    files = {"source": result.source.data}
    for name, field in _PICTURES.items():
        if picture := getattr(answer, field):
            files[name] = picture
        answer.ClearField(field)
    options, asked = _split(result.options)
    details = {"name": result.source.name, "values": result.values, "options": options, "index": result.index}
    return Draft(
        request_id=result.id,
        experiment=result.options["experiment"],
        feature=answer.effective.feature_id,
        prompt=result.options.get("prompt") or "",
        thumb=result.thumb,
        details=json.dumps(details, ensure_ascii=False),
        files={**files, **asked, "answer": answer.SerializeToString()},
    )


def restored(entry: Entry, files: Mapping[str, bytes], *, number: int, visit: object) -> Result:
    """The result of an entry, as one of this visit.

    The source was an upload, so it is checked and decoded as one. Raises `GalleryError` for damaged files, and like
    `input_images.open_image`.
    """
    try:
        details = json.loads(entry.details)
        answer = edit_pb2.EditResponse.FromString(files["answer"])
        for name, field in _PICTURES.items():
            setattr(answer, field, files.get(name, b""))
        options = _joined(details["options"], files)
        name, values, source = str(details["name"]), dict(details["values"]), files["source"]
        index = int(details.get("index", 0))
    except (KeyError, TypeError, ValueError, DecodeError) as error:
        raise GalleryError("broken", f"the edit {entry.id} cannot be read: {error!r}") from error
    task = Task(input_images.open_image(name, source, visit), options, number=number, values=values, index=index)
    try:
        return runs.result_of(task, answer)
    except (OSError, ValueError) as error:
        raise GalleryError("broken", f"the edit {entry.id} has a damaged picture: {error!r}") from error


def _split(options: EditOptions) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The options without their pictures, and these as files."""
    plain: dict[str, Any] = {name: value for name, value in options.items() if name not in ("mask", "references")}
    for name in _VALUES:
        if plain.get(name) is not None:
            plain[name] = asdict(plain[name])
    if plain.get("loras"):
        plain["loras"] = [asdict(lora) for lora in plain["loras"]]
    given: dict[str, Any] = dict(options)  # the form's pictures are bytes
    files = {f"reference-{place}": data for place, data in enumerate(given.get("references") or (), 1)}
    if given.get("mask") is not None:
        files["own-mask"] = given["mask"]
    return plain, files


def _joined(plain: dict[str, Any], files: Mapping[str, bytes]) -> EditOptions:
    options = dict(plain)
    for name, kind in _VALUES.items():
        if options.get(name) is not None:
            options[name] = kind(**options[name])
    if options.get("loras"):
        options["loras"] = [Lora(**lora) for lora in options["loras"]]
    references = [files[name] for name in sorted(files) if name.startswith("reference-")]
    if references:
        options["references"] = references
    if "own-mask" in files:
        options["mask"] = files["own-mask"]
    return cast("EditOptions", options)
