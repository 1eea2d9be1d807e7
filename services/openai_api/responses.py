"""Responses in OpenAI's format: JSON and server-sent events.

Pictures are encoded as base64 while they are sent.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.openai_api.edits import Feature, Preview, Progress, Result
from services.openai_api.parameters import ImageEdit
from services.openai_api.transparency import may_be_transparent

_SLICE = 3 * 2**16
"""Bytes that become 256 KiB of base64. A multiple of 3, so that slices join without padding between them."""

NO_TOKENS: dict[str, Any] = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Programs read it; edits are not counted in tokens here."""


@dataclass(frozen=True)
class Base64:
    """A picture within a text, base64-encoded slice by slice.

    Encoding it whole would need another third of its memory.
    """

    data: bytes

    def __len__(self) -> int:
        return (len(self.data) + 2) // 3 * 4


Parts = Sequence[bytes | Base64]
"""A text in the order in which it is sent."""


def length(parts: Parts) -> int:
    """Bytes of the whole text."""
    return sum(map(len, parts))


def slices(parts: Parts) -> Iterator[bytes]:
    """The text in pieces of at most 256 KiB.

    Each waits in memory until its caller reads it.
    """
    for part in parts:
        view = memoryview(part if isinstance(part, bytes) else part.data)
        for start in range(0, len(view), _SLICE):
            piece = view[start : start + _SLICE]
            yield bytes(piece) if isinstance(part, bytes) else base64.b64encode(piece)


def images(asked: ImageEdit, results: Sequence[Result], urls: Sequence[str]) -> Parts:
    """An ImagesResponse with each result's picture, or with its URL if `urls` is set."""
    first = results[0]
    head = {
        "created": int(time.time()),
        "background": _background(first),
        "output_format": first.format,
        "quality": first.quality,
        "size": _size(first),
        "usage": NO_TOKENS,
        "safety_identifier": asked.user,
    }
    parts: list[bytes | Base64] = [_json(head)[:-1] + b',"data":[']
    for place, result in enumerate(results):
        said = _json(_said(result))
        if place:
            parts.append(b",")
        if urls:
            parts.append(b'{"url":' + _json(urls[place]) + b"," + said[1:])
        else:
            parts += [b'{"b64_json":"', Base64(result.image), b'",' + said[1:]]
    return [*parts, b"]}"]


def partial_image(preview: Preview, asked: ImageEdit, index: int, quality: str, size: str) -> Parts:
    """The event of one preview."""
    kind = "image_edit.partial_image"
    fields = {
        "type": kind,
        "created_at": int(time.time()),
        "partial_image_index": index,
        "output_format": "jpeg",  # whatever the result will be
        "background": asked.background if asked.background in ("transparent", "opaque") else "auto",
        "quality": quality,
        "size": size,
    }
    return _event(kind, fields, preview.image)


def completed(result: Result) -> Parts:
    """The event that ends an edit."""
    kind = "image_edit.completed"
    fields = {
        "type": kind,
        "created_at": int(time.time()),
        "background": _background(result),
        "output_format": result.format,
        "quality": result.quality,
        "size": _size(result),
        "usage": NO_TOKENS,
        **_said(result),
    }
    return _event(kind, fields, result.image)


def failed(error: Mapping[str, Any]) -> Parts:
    """The event that ends an edit which failed after the stream had begun."""
    return [b"event: error\ndata: " + _json(error) + b"\n\n"]


def comment(progress: Progress) -> Parts:
    """An SSE comment: clients ignore it, and proxies keep the connection open."""
    return [f": {progress.stage} {progress.step}/{progress.steps}\n\n".encode()]


def models(features: Sequence[Feature], created: int) -> dict[str, Any]:
    """The list of models: each experiment, and each of its features."""
    ids: list[str] = []
    for feature in features:
        if feature.experiment not in ids:
            ids.append(feature.experiment)
        ids.append(feature.id)
    data = [{"id": name, "object": "model", "created": created, "owned_by": "imgedit"} for name in ids]
    return {"object": "list", "data": data}


def _event(kind: str, fields: Mapping[str, Any], picture: bytes) -> Parts:
    head = f'event: {kind}\ndata: {{"b64_json":"'.encode()
    return [head, Base64(picture), b'",' + _json(fields)[1:] + b"\n\n"]


def _said(result: Result) -> dict[str, Any]:
    """Our additional fields of a result."""
    revised = {"revised_prompt": result.revised_prompt} if result.revised_prompt is not None else {}
    return {
        **revised,
        "seed": result.seed,
        "model": result.model,
        "request_id": result.request_id,
        "warnings": list(result.warnings),
    }


def _background(result: Result) -> str:
    return "transparent" if may_be_transparent(result.image) else "opaque"


def _size(result: Result) -> str:
    return f"{result.width}x{result.height}"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
