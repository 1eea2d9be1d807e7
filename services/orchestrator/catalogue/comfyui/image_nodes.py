"""The origin of pixels: the caller's picture, scaled, padded, cut out or painted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.orchestrator.catalogue.comfyui.document import Node

if TYPE_CHECKING:
    from services.orchestrator.catalogue.comfyui.paint_passes import PaintPass


@dataclass(frozen=True)
class ImagePath:
    """A picture on its way to a model.

    load: the LoadImage at its beginning. scales: in order from there.
    """

    load: Node
    passes: tuple[PaintPass, ...] = ()
    pad: Node | None = None
    cutout: Node | None = None
    scales: tuple[Node, ...] = ()

    def is_same(self, other: ImagePath) -> bool:
        """Whether it is the same picture, whatever its size."""
        return replace(self, scales=()) == replace(other, scales=())

    def __str__(self) -> str:
        ways = [
            *(f"painted by {found.sampler}" for found in self.passes),
            *([f"padded by {self.pad}"] if self.pad else []),
            *([f"cut out by {self.cutout}"] if self.cutout else []),
        ]
        return ", ".join([str(self.load), *ways])
