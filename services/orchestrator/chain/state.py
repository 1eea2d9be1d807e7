"""What an edit is given, and what its chain has made so far.

Frozen data; knows no stage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from imgedit.imaging.images import Picture, Pixels
from services.orchestrator.backends.clients import Backends, ModelUse, OnProgress
from services.orchestrator.imaging.foreground_colours import ForegroundColours
from services.orchestrator.imaging.masks import MaskOptions
from services.orchestrator.imaging.work_area import WorkArea, WorkPixels
from services.orchestrator.request.margins import Margins
from services.orchestrator.request.parameters import EditParameters
from services.orchestrator.request.prompts import Rewriting

MaskSource = Literal["whole", "segmentation", "request", "margins"]


@dataclass(frozen=True)
class Subject:
    """What BEN2 finds in a picture.

    (H, W) uint8 alpha at the picture's size, 255 = subject.

    foreground_colours: None where they were not asked for.
    """

    alpha: Pixels
    foreground_colours: ForegroundColours | None
    model: ModelUse


@dataclass(frozen=True)
class Texts:
    """The prompts as the model sees them. models: who rewrote them, at most one."""

    prompt: str
    negative_prompt: str | None
    models: tuple[ModelUse, ...] = ()


@dataclass
class Pending:
    """The tasks that run beside the stages, and that a stage awaits where it needs them. None = not begun."""

    subject: asyncio.Task[Subject] | None = None
    texts: asyncio.Task[Texts] | None = None

    def cancel(self) -> None:
        """End what still runs."""
        for task in (self.subject, self.texts):
            if task is not None:
                task.cancel()


@dataclass(frozen=True)
class EditContext:
    """What stays the same during one edit.

    mask: the caller's, as (H, W) uint8 mask alpha, or None. parameters: with the prompts as they were asked; rewriting:
    what is to be done to them. max_pixels bounds an extended picture. deadline: on the `time.monotonic` clock.
    on_stage(name, index, count) is called when a stage begins, on_progress(stage) gives the listener for a stage's own
    reports.
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
    """What the chain has made so far.

    rgb, alpha: the picture, with its margins once it is extended, or its cut-out on a plain ground. mask_alpha: (H, W)
    uint8 of the composite, None = the whole picture. mask_options: those of the last mask. kept_subject: (H, W) uint8,
    the subject's alpha where the mask keeps it, and foreground_colours its colours; None where there is nothing to
    refine. painted: the model's picture at the state's size; None = nothing was painted. area: where the model worked.
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

    def as_picture(self) -> ChainState:
        """For the stages behind a composite: they start from the picture as it is now."""
        return replace(
            self, mask_alpha=None, mask_source="whole", kept_subject=None, foreground_colours=None, painted=None
        )
