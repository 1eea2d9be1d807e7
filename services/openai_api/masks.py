"""Translate OpenAI's masks to ours.

Theirs: transparent = repaint, whatever the colours. Ours: white = repaint.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable

from imgedit.errors import InvalidArgument
from imgedit.imaging.decode_pool import Decoders
from imgedit.imaging.encoding import encode_png
from imgedit.imaging.images import Picture


class Masks:
    """Translates masks; a separate process decodes these untrusted files."""

    def __init__(self, decode_seconds: float, max_pixels: int) -> None:
        self._decoders = Decoders(1, decode_seconds)
        self._max_pixels = max_pixels

    async def start(self) -> None:
        """Start the process."""
        await self._decoders.start()

    def close(self) -> None:
        """End it."""
        self._decoders.close()

    async def translated(self, mask: bytes, caller: Hashable) -> bytes:
        """A PNG file that is white where `mask` is transparent. Callers take turns.

        Raises `ImageRejected` for a file that is not a picture, `InvalidArgument` if nothing is transparent.
        """
        picture = await self._decoders.open(mask, field="mask", max_pixels=self._max_pixels, caller=caller)
        return await asyncio.to_thread(_white_where_transparent, picture)


def _white_where_transparent(mask: Picture) -> bytes:
    if mask.alpha is None or mask.alpha.min() == 255:
        raise InvalidArgument.field(
            "mask",
            "has no transparent pixel: transparent is what is repainted. A mask that is white there is sent as "
            "mask_image instead",
            korean="마스크에 투명한 픽셀이 없습니다. 투명한 부분이 다시 그려집니다.",
        )
    return encode_png(255 - mask.alpha)
