"""Check and decode the images of a request.

The only entry for untrusted images. `decode_pool.py` decodes, `imgedit.imaging.images` checks.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from imgedit.imaging import containers, images
from imgedit.imaging.decode_pool import Decoders
from imgedit.imaging.images import Picture
from imgedit.imaging.pixels import Pixels
from imgedit.v1 import edit_pb2
from services.orchestrator.catalogue.experiments import ExtendStage
from services.orchestrator.request.parameters import EditParameters

BYTES_PER_PIXEL = 28
"""Peak memory of an edit per pixel of its images; measured at 12 megapixels."""

_HEADER_BYTES = 65_536
"""Read for an estimate on the event loop: a walk along the whole file would hold up the others."""

T = TypeVar("T")


@dataclass(frozen=True)
class Inputs:
    """The images of a request.

    mask: (H, W) uint8, 255 = repaint; references: (H, W, 3) uint8 on white.
    """

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]


def working_bytes(
    request: edit_pb2.EditRequest, parameters: EditParameters, extend: ExtendStage | None, max_pixels: int
) -> int:
    """The estimated peak memory of an edit, from stated sizes and parameters.

    Each result counts whole: they may be composited at once.
    """
    width, height = _declared_size(request.input_image, max_pixels)
    if parameters.extension is not None and extend is not None:
        width, height = parameters.extension.size_about((width, height), extend.direction_fraction)
    pixels = min(width * height, max_pixels)
    for reference in request.reference_images:
        across, down = _declared_size(reference, max_pixels)
        pixels += min(across * down, max_pixels)
    return pixels * BYTES_PER_PIXEL * parameters.n


def _declared_size(data: bytes, max_pixels: int) -> tuple[int, int]:
    """The size stated by the beginning of a file.

    A JPEG may state it later: then the largest size; (0, 0) for other data.
    """
    start = data[:_HEADER_BYTES]
    header = containers.read_header(start)
    if header is not None:
        return header.width, header.height
    return (math.isqrt(max_pixels),) * 2 if start.startswith(b"\xff\xd8\xff") else (0, 0)


async def decode_inputs(request: edit_pb2.EditRequest, decoders: Decoders, max_pixels: int, caller: str) -> Inputs:
    """Decode all images, taking turns with other callers.

    Raises `ImageRejected` or `InvalidArgument` for the first invalid field.
    """
    fields = {"input_image": request.input_image}
    if request.mask_image:
        fields["mask_image"] = request.mask_image
    fields |= {f"reference_images[{index}]": data for index, data in enumerate(request.reference_images)}
    picture, *others = await _all(
        decoders.open(data, field=field, max_pixels=max_pixels, caller=caller) for field, data in fields.items()
    )
    mask = None
    if request.mask_image:
        mask = images.mask_of(
            others.pop(0),
            field="mask_image",
            size=picture.size,
            is_lossy=containers.is_lossy(request.mask_image),
        )
    return Inputs(picture, mask, tuple(reference.over_white() for reference in others))


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """The results in order.

    If several fail, the first in that order is raised, so the error is deterministic.
    """
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # no exception among them
