"""The pictures of a request, judged and decoded: the only way that untrusted pictures come in.

Knows which fields hold pictures; `decoding.py` knows where they are decoded, `imgedit.images` what is accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from imgedit import headers, images
from imgedit.images import Picture, Pixels
from imgedit.v1 import edit_pb2
from services.orchestrator.decoding import Decoders

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """The pictures of a request. mask: (H, W) uint8, 255 = repaint; references: (H, W, 3) uint8 on white."""

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]


async def decode(request: edit_pb2.EditRequest, decoders: Decoders, max_pixels: int) -> Inputs:
    """Decode all pictures at once. Raises `ImageRejected` or `InvalidArgument` for the first field at fault."""
    fields = {"input_image": request.input_image}
    if request.mask_image:
        fields["mask_image"] = request.mask_image
    fields |= {f"reference_images[{index}]": data for index, data in enumerate(request.reference_images)}
    picture, *others = await _all(
        decoders.open(data, field=field, max_pixels=max_pixels) for field, data in fields.items()
    )
    mask = None
    if request.mask_image:
        mask = images.mask_of(
            others.pop(0),
            field="mask_image",
            size=picture.size,
            is_lossy=headers.is_lossy(request.mask_image),
        )
    return Inputs(picture, mask, tuple(reference.over_white() for reference in others))


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """The results in order. Where several fail, the first in that order is raised, so an answer does not vary."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # no exception among them
