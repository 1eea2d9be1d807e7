"""The result of each kind of stage, and the state that they add up to. Frozen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from imgedit.imaging.images import Picture
from imgedit.imaging.pixels import Pixels
from imgedit.remarks import Remarks
from services.orchestrator.backends.clients import ModelUse
from services.orchestrator.catalogue.experiments import PaintStage
from services.orchestrator.imaging.foreground_colours import ForegroundColours
from services.orchestrator.imaging.masks import MaskOptions
from services.orchestrator.imaging.work_area import WorkArea
from services.orchestrator.request.margins import Margins

MaskSource = Literal["whole", "segmentation", "request", "margins"]


@dataclass(frozen=True)
class Subject:
    """Result of `segment`: BEN2's (H, W) uint8 alpha at the image's size.

    255 = subject. foreground_colours: None if not requested.
    """

    alpha: Pixels
    foreground_colours: ForegroundColours | None
    model: ModelUse


@dataclass(frozen=True)
class Prompts:
    """Result of `rewrite_prompt`: the prompts as the model sees them.

    models: the model that rewrote them, at most one.
    """

    prompt: str
    negative_prompt: str | None
    models: tuple[ModelUse, ...] = ()


@dataclass(frozen=True)
class MaskResult:
    """Result of `mask`: the (H, W) uint8 mask alpha of the next composite.

    options: None for margins. kept_subject: (H, W) uint8, the subject's alpha where the mask keeps the subject.
    foreground_colours: the subject's, None where they are not known.
    """

    alpha: Pixels
    source: MaskSource
    options: MaskOptions | None = None
    kept_subject: Pixels | None = None
    foreground_colours: ForegroundColours | None = None
    warnings: Remarks = ()


@dataclass(frozen=True)
class CutOut:
    """Result of `mask` if the background is removed: the chosen part on white.

    The model may change all of it.
    """

    picture: Picture
    options: MaskOptions


@dataclass(frozen=True)
class Extended:
    """Result of `extend`: the image with its margins, and these as a mask."""

    picture: Picture
    mask: MaskResult
    margins: Margins


@dataclass(frozen=True)
class PaintResult:
    """Result of `fill` and `qwen_edit`: (H, W, 3) uint8 at the image's size.

    area: where the model worked. full_steps: how many steps computed the whole picture.
    """

    rgb: Pixels
    area: WorkArea
    stage: PaintStage
    model: ModelUse
    warnings: Remarks
    full_steps: int


@dataclass(frozen=True)
class CompositeResult:
    """Result of `composite`: the new image, and the (H, W) uint8 alpha of changes."""

    picture: Picture
    mask_alpha: Pixels
    mask_source: MaskSource


@dataclass(frozen=True)
class TransparentResult:
    """End of a chain with a transparent result: the image, cut out by the model."""

    picture: Picture
    model: ModelUse


StageResult = (
    Subject | Prompts | MaskResult | CutOut | Extended | PaintResult | CompositeResult | TransparentResult | Picture
)
"""The result of a stage; a stage that only changes the image returns a `Picture`."""


@dataclass(frozen=True)
class ChainState:
    """The input of a stage.

    picture: the result of the stages before. mask, painted: made since the last composite; mask None = the whole
    image, painted None = nothing. subject: None until a stage needs it. prompts: None if none is rewritten.
    """

    picture: Picture
    mask: MaskResult | None = None
    painted: PaintResult | None = None
    subject: Subject | None = None
    prompts: Prompts | None = None

    def after(self, result: StageResult) -> ChainState:
        """The state for the next stage."""
        match result:
            case Subject():
                return replace(self, subject=result)
            case Prompts():
                return replace(self, prompts=result)
            case MaskResult():
                return replace(self, mask=result)
            case Extended():
                return replace(self, picture=result.picture, mask=result.mask)
            case PaintResult():
                return replace(self, painted=result)
            case CompositeResult():
                return replace(self, picture=result.picture, mask=None, painted=None)
            case CutOut() | TransparentResult():
                return replace(self, picture=result.picture)
            case Picture():
                return replace(self, picture=result)


@dataclass(frozen=True)
class ChainRecord:
    """Facts about the stages for the response, without pixels, to save memory.

    mask_options: those of the last mask. area: where the last model worked. full_steps: by the stage that painted.
    """

    margins: Margins | None = None
    mask_options: MaskOptions | None = None
    area: WorkArea | None = None
    models: tuple[ModelUse, ...] = ()
    warnings: Remarks = ()
    full_steps: tuple[tuple[PaintStage, int], ...] = ()

    def after(self, result: StageResult) -> ChainRecord:
        """The record with this stage's part."""
        match result:
            case MaskResult():
                return replace(self, mask_options=result.options, warnings=(*self.warnings, *result.warnings))
            case CutOut():
                return replace(self, mask_options=result.options)
            case Extended():
                return replace(self, margins=result.margins)
            case PaintResult():
                return replace(
                    self,
                    area=result.area,
                    models=(*self.models, result.model),
                    warnings=(*self.warnings, *result.warnings),
                    full_steps=(*self.full_steps, (result.stage, result.full_steps)),
                )
            case TransparentResult():
                return replace(self, models=(*self.models, result.model))
            case _:
                return self
