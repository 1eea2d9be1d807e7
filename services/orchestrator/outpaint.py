"""The extended canvas: which margins an edit asks for, and the picture with them, pre-filled by reflection."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from imgedit.errors import InvalidArgument
from imgedit.images import MAX_SIDE
from services.orchestrator import directions, masks
from services.orchestrator.canvas import Canvas
from services.orchestrator.parameters import MAX_MARGIN_PX, EditParameters, Margins


def margins_of(parameters: EditParameters, size: tuple[int, int], fraction: float) -> Margins:
    """Margins from the aspect or, without one, from the direction words of the prompt."""
    width, height = size
    if parameters.aspect is not None:
        across, down = parameters.aspect
        more_width = max(0, round(height * across / down) - width)
        more_height = max(0, round(width * down / across) - height)
        margins = Margins(
            more_width // 2, more_width - more_width // 2, more_height // 2, more_height - more_height // 2
        )
        if not margins:
            raise InvalidArgument.field("outpaint.aspect", f"the picture ({width}x{height}) has this aspect already")
        if max(margins.left, margins.right, margins.top, margins.bottom) > MAX_MARGIN_PX:
            raise InvalidArgument.field("outpaint.aspect", f"needs a margin over {MAX_MARGIN_PX} px at this size")
        return margins
    sides = directions.sides(parameters.prompt)
    if not sides:
        raise InvalidArgument.field(
            "outpaint",
            "say where to extend: set margins in px or an aspect, or name a side in the prompt (left, right, top, "
            "bottom, both sides)",
            korean="확장할 방향을 알려 주세요: 여백(px)이나 비율을 지정하거나, "
            "프롬프트에 left, right, top, bottom 같은 방향을 쓰세요.",
        )
    lengths = {"left": width, "right": width, "top": height, "bottom": height}
    return Margins(**{side: min(MAX_MARGIN_PX, max(1, round(lengths[side] * fraction))) for side in sides})


def check_canvas(size: tuple[int, int], margins: Margins, max_pixels: int) -> None:
    """Refuse a canvas that would not be accepted as a picture."""
    width, height = size[0] + margins.left + margins.right, size[1] + margins.top + margins.bottom
    if width * height <= max_pixels and max(width, height) <= MAX_SIDE:
        return
    raise InvalidArgument.field(
        "outpaint",
        f"the extended picture would have {width}x{height} px; at most {max_pixels / 1e6:g} megapixels and "
        f"{MAX_SIDE} px a side are accepted; ask for smaller margins",
        korean=f"확장한 이미지({width}x{height})가 너무 큽니다. 여백을 줄여 주세요.",
    )


def extended(canvas: Canvas, margins: Margins, feather_px: int) -> Canvas:
    """The seam is feathered inside the margins, over a third of the smallest one at most."""
    smallest = min(side for side in (margins.left, margins.right, margins.top, margins.bottom) if side > 0)
    feather_px = min(feather_px, smallest // 3)
    around = ((margins.top, margins.bottom), (margins.left, margins.right))
    inside = np.zeros(canvas.rgb.shape[:2], np.uint8)
    return replace(
        canvas,
        rgb=np.pad(canvas.rgb, (*around, (0, 0)), mode="reflect"),
        alpha=None if canvas.alpha is None else np.pad(canvas.alpha, around, mode="reflect"),
        weight=masks.feather(np.pad(inside, around, constant_values=255), feather_px),
        mask_source="margins",
        margins=margins,
    )
