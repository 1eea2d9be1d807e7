"""Input of an edit: images, parameters, model services, deadline. Frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from imgedit.imaging.images import Picture
from imgedit.imaging.pixels import Pixels
from services.common.checks import Scales
from services.orchestrator.backends.clients import Backends, OnProgress
from services.orchestrator.imaging.work_area import WorkPixels
from services.orchestrator.request.parameters import EditParameters
from services.orchestrator.request.prompts import Rewriting


@dataclass(frozen=True)
class EditContext:
    """Constant input of one edit.

    mask: the caller's, as (H, W) uint8 mask alpha, or None. parameters: with the prompts as they were asked; rewriting:
    what is to be done to them. loras: names and strengths by the service whose model they fit. max_pixels bounds an
    extended picture. deadline: on the `time.monotonic` clock. on_stage(name, index, count) is called when a stage
    begins, on_progress(stage) gives the listener for a stage's own reports.
    """

    picture: Picture
    mask: Pixels | None
    references: tuple[Pixels, ...]
    parameters: EditParameters
    rewriting: Rewriting
    loras: Mapping[str, Scales]
    backends: Backends
    max_pixels: int
    work_pixels: WorkPixels
    deadline: float
    on_stage: Callable[[str, int, int], None]
    on_progress: Callable[[str], OnProgress]
