"""The margins of a request: `outpaint`, checked, or the prompt's direction words."""

from __future__ import annotations

import re
from dataclasses import dataclass

from imgedit.errors import InvalidArgument, quoted
from imgedit.v1 import edit_pb2
from services.common import checks
from services.orchestrator.catalogue.experiments import MAX_MARGIN_PX, ExtendStage
from services.orchestrator.request import directions
from services.orchestrator.request.directions import Directions


@dataclass(frozen=True)
class Margins:
    """Pixels to add on each side."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def __bool__(self) -> bool:
        return any((self.left, self.right, self.top, self.bottom))

    def around(self, size: tuple[int, int]) -> tuple[int, int]:
        """The extended (width, height) of an image of `size`."""
        return size[0] + self.left + self.right, size[1] + self.top + self.bottom


@dataclass(frozen=True)
class Extension:
    """An extension; exactly one field is set.

    aspect: (horizontal, vertical).
    """

    margins: Margins | None = None
    aspect: tuple[int, int] | None = None
    directions: Directions | None = None

    def margins_of(self, size: tuple[int, int], fraction: float) -> Margins:
        """The margins for an image of `size` (width, height).

        A direction adds `fraction` of the side's length.
        """
        if self.margins is not None:
            return self.margins
        if self.aspect is not None:
            return _reaching(self.aspect, size)
        sides = self.directions.sides if self.directions else ()
        lengths = {"left": size[0], "right": size[0], "top": size[1], "bottom": size[1]}
        return Margins(**{side: min(MAX_MARGIN_PX, max(1, round(lengths[side] * fraction))) for side in sides})

    def size_about(self, size: tuple[int, int], fraction: float) -> tuple[int, int]:
        """The approximate extended (width, height), accepted or not."""
        if self.aspect is None:
            return self.margins_of(size, fraction).around(size)
        (width, height), (across, down) = size, self.aspect
        return max(width, height * across // down), max(height, width * down // across)


def resolve_margins(request: edit_pb2.EditRequest, stage: ExtendStage, prompt: str) -> Extension:
    """The requested extension.

    Without `outpaint`, the margins of the stage, or else the directions in the words of `prompt`.

    Raises `InvalidArgument` that names the field.
    """
    if not request.HasField("outpaint"):
        margins = Margins(**stage.margins)
        return Extension(margins=margins) if margins else Extension(directions=_directions(prompt))
    outpaint = request.outpaint
    margins = Margins(outpaint.left, outpaint.right, outpaint.top, outpaint.bottom)
    for side in ("left", "right", "top", "bottom"):
        checks.number(f"outpaint.{side}", getattr(margins, side), 0, MAX_MARGIN_PX)
    if outpaint.HasField("aspect"):
        return Extension(aspect=_aspect(outpaint.aspect, margins))
    if not margins:
        raise InvalidArgument.field(
            "outpaint",
            "set a margin above 0 px, or an aspect such as '16:9'; leave it out to have the prompt's words decide",
            korean="여백(px)을 0보다 크게 지정하거나 '16:9' 같은 비율을 지정하세요. "
            "outpaint를 비우면 프롬프트의 방향을 따릅니다.",
        )
    return Extension(margins=margins)


def _directions(prompt: str) -> Directions:
    found = directions.read_directions(prompt)
    if found.sides:
        return found
    raise InvalidArgument.field(
        "outpaint",
        "say where to extend: set margins in px or an aspect such as '16:9', or name a side in the prompt (left, "
        "right, top, bottom, both sides, all sides)",
        korean="확장할 방향을 알 수 없습니다. 여백(px)이나 '16:9' 같은 비율을 지정하거나, 프롬프트에 방향을 쓰세요: "
        "왼쪽, 오른쪽, 위쪽, 아래쪽, 양옆, 상하, 사방. 예: '왼쪽에 운동 기구 추가'",
    )


def _aspect(aspect: str, margins: Margins) -> tuple[int, int]:
    if margins:
        raise InvalidArgument.field(
            "outpaint", "set either margins or an aspect, not both", korean="여백과 비율 중 하나만 지정하세요."
        )
    match = re.fullmatch(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", aspect)
    if match is None:
        raise InvalidArgument.field(
            "outpaint.aspect",
            f"must be 'W:H' with whole numbers from 1 to 9999, for instance '16:9', is {quoted(aspect)}",
            korean="비율은 '16:9'처럼 '가로:세로'로 쓰세요.",
        )
    return int(match[1]), int(match[2])


def _reaching(aspect: tuple[int, int], size: tuple[int, int]) -> Margins:
    """The even margins that give `size` the aspect.

    Raises `InvalidArgument` if none do.
    """
    (width, height), (across, down) = size, aspect
    wider = max(0, round(height * across / down) - width)
    higher = max(0, round(width * down / across) - height)
    margins = Margins(wider // 2, wider - wider // 2, higher // 2, higher - higher // 2)
    if not margins:
        raise InvalidArgument.field(
            "outpaint.aspect",
            f"the picture ({width}x{height}) has this aspect already",
            korean=f"이미지({width}x{height})가 이미 이 비율입니다.",
        )
    largest = max(margins.left, margins.right, margins.top, margins.bottom)
    if largest > MAX_MARGIN_PX:
        raise InvalidArgument.field(
            "outpaint.aspect",
            f"needs a margin of {largest} px at this size ({width}x{height}); at most {MAX_MARGIN_PX} px are added",
            korean=f"이 비율에는 여백 {largest}px이 필요합니다. 여백은 {MAX_MARGIN_PX}px까지입니다.",
        )
    return margins
