"""The extended image: margins pre-filled by reflection.

Pure functions of arrays.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgedit.errors import InvalidArgument
from imgedit.imaging.images import MAX_SIDE
from services.orchestrator.chain.state import ChainState
from services.orchestrator.imaging import masks
from services.orchestrator.request.margins import Margins


def check_canvas(size: tuple[int, int], margins: Margins, max_pixels: int) -> None:
    """Reject an extended image that exceeds the limits for images."""
    width, height = margins.around(size)
    if width * height <= max_pixels and max(width, height) <= MAX_SIDE:
        return
    raise InvalidArgument.field(
        "outpaint",
        f"the extended picture would have {width}x{height} px; at most {max_pixels / 1e6:g} megapixels and "
        f"{MAX_SIDE} px a side are accepted; ask for smaller margins",
        korean=f"확장한 이미지({width}x{height})가 너무 큽니다. 여백을 줄여 주세요.",
    )


def extended(state: ChainState, margins: Margins, feather_px: int) -> ChainState:
    """Feather the seam inside the margins, over at most a third of the smallest one."""
    smallest = min(side for side in (margins.left, margins.right, margins.top, margins.bottom) if side > 0)
    feather_px = min(feather_px, smallest // 3)
    around = ((margins.top, margins.bottom), (margins.left, margins.right))
    inside = np.zeros(state.rgb.shape[:2], np.uint8)
    return replace(
        state,
        rgb=np.pad(state.rgb, (*around, (0, 0)), mode="reflect"),
        alpha=None if state.alpha is None else np.pad(state.alpha, around, mode="reflect"),
        mask_alpha=masks.feather(np.pad(inside, around, constant_values=255), feather_px),
        mask_source="margins",
        margins=margins,
    )
