"""Whole chains of the shipped catalogue, with stand-ins for the models.

Noise as paint, a soft disc as the subject.
"""

from __future__ import annotations

import asyncio
import math
from typing import Any

import numpy as np

from imgedit.imaging.images import Picture
from imgedit.imaging.pixels import Pixels
from imgedit.v1 import edit_pb2
from services.orchestrator.backends.clients import ModelUse, Painted, Segmented
from services.orchestrator.catalogue import experiments
from services.orchestrator.catalogue.experiments import SHIPPED
from services.orchestrator.chain.context import EditContext
from services.orchestrator.chain.run import Outcome, run_chain
from services.orchestrator.imaging.work_area import WorkPixels
from services.orchestrator.request import parameters
from services.orchestrator.request.prompts import Rewriting

CATALOGUE = experiments.load_catalogue(SHIPPED)


class Noise:
    """Paints noise, sees a soft disc in every image, and records its inputs."""

    def __init__(self, *, finds_subject: bool = True) -> None:
        self._random = np.random.default_rng(1)
        self._finds_subject = finds_subject
        self.segmented: list[Pixels] = []
        self.painted: list[tuple[Pixels, Pixels | None]] = []
        self.returned: list[Pixels] = []

    async def segment(self, rgb: Pixels, *, wants_foreground: bool, deadline: float) -> Segmented:
        self.segmented.append(rgb)
        height, width = rgb.shape[:2]
        rows, columns = np.mgrid[:height, :width]
        distance = np.hypot(rows - height / 2, columns - width / 2)
        alpha = np.clip(255 * (min(height, width) / 2.5 - distance) / 6, 3, 252).astype(np.uint8)
        if not self._finds_subject:
            alpha = np.full_like(alpha, 3)
        foreground = self._random.integers(0, 256, rgb.shape, dtype=np.uint8) if wants_foreground else None
        return Segmented(alpha, foreground, ModelUse("BEN2", "1"))

    async def fill(self, rgb: Pixels, mask: Pixels | None, *_: Any, **__: Any) -> Painted:
        self.painted.append((rgb, mask))
        self.returned.append(self._random.integers(0, 256, rgb.shape, dtype=np.uint8))
        return Painted(self.returned[-1], ModelUse("FLUX", "1"))

    async def qwen_edit(self, images: list[Pixels], mask: Pixels | None, *_: Any, **__: Any) -> Painted:
        return await self.fill(images[0], mask)


def edited(
    request: edit_pb2.EditRequest, picture: Picture, mask: Pixels | None = None, *, backends: Noise | None = None
) -> Outcome:
    """The outcome of a request, the models apart."""
    feature = CATALOGUE.find(request.experiment_id, request.feature_id)[1]
    backends = backends or Noise()
    edit = EditContext(
        picture=picture,
        mask=mask,
        references=(),
        parameters=parameters.resolve_parameters(request, feature),
        rewriting=Rewriting(),
        backends=backends,  # type: ignore[arg-type]
        max_pixels=25_000_000,
        work_pixels=WorkPixels(4096, 1, 1),
        deadline=math.inf,
        on_stage=lambda *_: None,
        on_progress=lambda _: lambda **_: None,
    )
    outcomes: list[Outcome] = []

    async def keep(_: int, outcome: Outcome) -> None:
        outcomes.append(outcome)

    asyncio.run(run_chain(feature, [edit], keep))
    return outcomes[0]


def noise_picture(width: int, height: int, *, has_alpha: bool = False, seed: int = 0) -> Picture:
    random = np.random.default_rng(seed)
    alpha = random.integers(0, 256, (height, width), dtype=np.uint8) if has_alpha else None
    return Picture(random.integers(0, 256, (height, width, 3), dtype=np.uint8), alpha)
