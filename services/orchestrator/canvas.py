"""What an edit is given, and what its chain has made so far. Frozen data; knows no stage."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from imgedit.images import Picture, Pixels
from services.orchestrator.backends import Backends, ModelUse, OnProgress, Segmented
from services.orchestrator.parameters import EditParameters, Margins

MaskSource = Literal["whole", "segmentation", "request", "margins"]


@dataclass(frozen=True)
class Edit:
    """What stays the same during one edit.

    mask: the caller's (H, W) uint8 weight, or None. max_pixels bounds an extended picture, max_work_pixels what a model
    is sent. deadline: on the `time.monotonic` clock. on_stage(name, index,
    count) is called when a stage begins, on_progress(stage) gives the listener for a stage's own reports.
    """

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]
    parameters: EditParameters
    backends: Backends
    max_pixels: int
    max_work_pixels: int
    deadline: float
    on_stage: Callable[[str, int, int], None]
    on_progress: Callable[[str], OnProgress]


@dataclass(frozen=True)
class Canvas:
    """What the chain has made so far.

    rgb, alpha: the picture, with its margins once it is extended. weight: (H, W) uint8 of the composite, None = the
    whole picture. painted: the model's picture at the canvas's size; None = nothing was painted. subject: the
    running segmentation, which stages that need it await.
    """

    rgb: Pixels
    alpha: Pixels | None
    weight: Pixels | None = None
    mask_source: MaskSource = "whole"
    margins: Margins | None = None
    painted: Pixels | None = None
    work_size: tuple[int, int] = (0, 0)
    models: tuple[ModelUse, ...] = ()
    subject: asyncio.Task[Segmented] | None = None
