"""The inputs of an edit and the state of its chain, as frozen data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from imgedit.imaging.images import Picture, Pixels
from services.orchestrator.backends.clients import Backends, ModelUse, OnProgress
from services.orchestrator.catalogue.models import PaintStage
from services.orchestrator.imaging.foreground_colours import ForegroundColours
from services.orchestrator.imaging.masks import MaskOptions
from services.orchestrator.imaging.work_area import WorkArea, WorkPixels
from services.orchestrator.request.margins import Margins
from services.orchestrator.request.parameters import EditParameters
from services.orchestrator.request.prompts import Rewriting

MaskSource = Literal["whole", "segmentation", "request", "margins"]


@dataclass(frozen=True)
class Subject:
    """BEN2's result for an image.

    (H, W) uint8 alpha at the image's size, 255 = subject.

    foreground_colours: None if not requested.
    """

    alpha: Pixels
    foreground_colours: ForegroundColours | None
    model: ModelUse


@dataclass(frozen=True)
class Texts:
    """The prompts as the model sees them.

    models: the model that rewrote them, at most one.
    """

    prompt: str
    negative_prompt: str | None
    models: tuple[ModelUse, ...] = ()


@dataclass
class Pending:
    """The parallel tasks, which stages await if they need them.

    None = not started.
    """

    subject: asyncio.Task[Subject] | None = None
    texts: asyncio.Task[Texts] | None = None

    def cancel(self) -> None:
        """Cancel all running tasks."""
        for task in (self.subject, self.texts):
            if task is not None:
                task.cancel()


@dataclass(frozen=True)
class EditContext:
    """The constant inputs of one edit.

    mask: the caller's, as (H, W) uint8 mask alpha, or None. parameters: with the requested prompts; rewriting: how to
    rewrite them. max_pixels bounds an extended image. deadline: on the `time.monotonic` clock. on_stage(name, index,
    count) is called when a stage begins, on_progress(stage) returns the listener for a stage's reports.
    """

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]
    parameters: EditParameters
    rewriting: Rewriting
    backends: Backends
    max_pixels: int
    work_pixels: WorkPixels
    deadline: float
    on_stage: Callable[[str, int, int], None]
    on_progress: Callable[[str], OnProgress]
    pending: Pending = field(default_factory=Pending)


@dataclass(frozen=True)
class ChainState:
    """The state of the chain.

    rgb, alpha: the picture, with its margins once it is extended, or its cut-out on a plain ground. mask_alpha: (H, W)
    uint8 of the composite, None = the whole picture. mask_options: those of the last mask. kept_subject: (H, W) uint8,
    the subject's alpha where the mask keeps it, and foreground_colours its colours; None where there is nothing to
    refine. painted: the model's picture at the state's size; None = nothing was painted. area: where the model worked.
    full_steps: how many steps of each stage that painted computed the whole picture.
    """

    rgb: Pixels
    alpha: Pixels | None
    mask_alpha: Pixels | None = None
    mask_source: MaskSource = "whole"
    mask_options: MaskOptions | None = None
    margins: Margins | None = None
    kept_subject: Pixels | None = None
    foreground_colours: ForegroundColours | None = None
    painted: Pixels | None = None
    area: WorkArea | None = None
    models: tuple[ModelUse, ...] = ()
    warnings: tuple[str, ...] = ()
    full_steps: tuple[tuple[PaintStage, int], ...] = ()

    def as_picture(self) -> ChainState:
        """The state for the stages after a composite: they start from its result."""
        return replace(
            self, mask_alpha=None, mask_source="whole", kept_subject=None, foreground_colours=None, painted=None
        )
