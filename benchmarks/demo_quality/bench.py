"""The shared parts of the rows: held-out scenes, edits, a judge."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import track

from demo import world
from demo.judge import Judge
from imgedit import SyncEditClient
from imgedit.errors import ImgeditError

FIRST_SEED = world.HELD_OUT_SEEDS.start + 1000

TIMED = 20
"""Edits, one at a time, that a median of seconds is taken from."""

console = Console()


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `target` is the least that `value` should be; `at_most` turns that around.
    """

    task: str
    measure: str
    value: float
    target: float
    unit: str = "%"
    at_most: bool = False
    count: int = 0

    @property
    def reached(self) -> bool:
        """Whether the target is."""
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True, eq=False)
class Asked:
    """One edit request: `picture` (H, W, 3) uint8, the prompt, options of `edit`."""

    picture: np.ndarray
    prompt: str
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Edited:
    """A result: `rgb` (H, W, 3), `mask_alpha` (H, W), `alpha` (H, W) of the cut-out."""

    rgb: np.ndarray
    mask_alpha: np.ndarray
    alpha: np.ndarray
    prompt: str
    seconds: float
    steps_run: int


@dataclass
class Bench:
    """Held-out scenes, a client of the running services, the judge.

    side_by_side: concurrent edits.
    """

    client: SyncEditClient
    prompt_service: str
    judge: Judge
    scenes: int
    first_seed: int = FIRST_SEED
    side_by_side: int = 1
    refused: list[str] = field(default_factory=list)

    def rng(self, number: int, purpose: str) -> random.Random:
        """The chance of one scene for one purpose."""
        return random.Random(f"{purpose}:{self.first_seed + number}")

    @cached_property
    def originals(self) -> list[tuple[world.Scene, world.Rendered]]:
        """The scenes, 256 × 256, and how they look."""
        scenes = [world.sample(random.Random(self.first_seed + number)) for number in range(self.scenes)]
        return [(scene, world.render(scene)) for scene in scenes]

    def edits(self, title: str, experiment: str, asked: Sequence[Asked]) -> Iterator[Edited | None]:
        """The results of the edits, in their order."""
        with ThreadPoolExecutor(self.side_by_side) as pool:
            coming = pool.map(partial(self.edit, experiment), asked)
            yield from track(coming, description=title, total=len(asked), console=console)

    def seconds(self, title: str, experiment: str, asked: Sequence[Asked]) -> list[float]:
        """How long the first few take, one at a time whatever `side_by_side` says."""
        timed = track(asked[:TIMED], description=f"seconds, {title}", console=console)
        edits = [self.edit(experiment, request) for request in timed]
        return [edit.seconds for edit in edits if edit]

    def edit(self, experiment: str, asked: Asked) -> Edited | None:
        """One edit through the public API.

        None where it was refused, which counts as failed.
        """
        try:
            answer = self.client.edit(png(asked.picture), experiment=experiment, prompt=asked.prompt, **asked.options)
        except ImgeditError as error:
            self.refused.append(f"{asked.prompt}: {error}")
            return None
        return Edited(
            rgb=_opened(answer.output_image, "RGB"),
            mask_alpha=_opened(answer.mask_image, "L"),
            alpha=_opened(answer.background_removed_image, "RGBA")[..., 3],
            prompt=answer.effective.prompt,
            seconds=answer.elapsed_time,
            steps_run=answer.effective.steps_run,
        )


def png(pixels: np.ndarray) -> bytes:
    """The picture as a file."""
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def is_untouched(edit: Edited, original: np.ndarray) -> bool:
    """Whether every pixel of mask alpha 0 is the picture's."""
    return bool((edit.rgb == original)[edit.mask_alpha == 0].all())


def share(flags: Sequence[bool]) -> float:
    """Per cent of them that are true."""
    return 100 * mean([float(flag) for flag in flags])


def mean(values: Sequence[float]) -> float:
    """Their mean; NaN where there are none."""
    return float(np.mean(values)) if len(values) else float("nan")


def median(values: Sequence[float]) -> float:
    """Their median; NaN where there are none."""
    return float(np.median(values)) if len(values) else float("nan")


def _opened(data: bytes, mode: str) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert(mode))
