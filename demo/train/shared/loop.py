"""The training loop: steps within a budget, progress bar, resumable state.

A batch's random numbers depend only on the seed and the batch's number, so a resumed run equals an uninterrupted one.
With several processes (`distributed.py`) each has its own batch in a step.
"""

from __future__ import annotations

import random
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.train.shared import distributed

SAVE_SECONDS = 60.0
SHEET_SECONDS = 420.0
LINE_SECONDS = 30.0
WARM_UP_STEPS = 40
COOL_DOWN = 0.45
"""The part of a run, at its end, over which the learning rate falls."""

console = Console()


class Trainer(Protocol):
    """The interface of a trainer."""

    def step(self, number: int, progress: float) -> float:
        """Learn from one batch and return its loss.

        number: of the batch; progress: 0 to 1, of the run.
        """

    def state(self) -> dict[str, Any]:
        """The state for `restore`: tensors, numbers and containers of them."""

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken of."""

    def sheet(self) -> Image.Image | None:
        """Samples to look at; None = there is nothing to see."""


@dataclass(frozen=True)
class Budget:
    """How long a run lasts: so many steps, or so many minutes of training.

    Exactly one is set.
    """

    steps: int | None = None
    minutes: float | None = None

    def progress(self, steps: int, seconds: float) -> float:
        """The part that has passed, 0 to 1."""
        passed = steps / self.steps if self.steps is not None else seconds / (60 * (self.minutes or 0.0))
        return min(1.0, passed)


@dataclass(frozen=True)
class Report:
    """The summary of a run: steps, seconds, and the mean loss of the last hundred."""

    steps: int
    seconds: float
    loss: float


def train(trainer: Trainer, *, scratch: Path, budget: Budget, resume: bool) -> Report:
    """Run steps until the budget is used up.

    State and sample sheets go to `scratch`. resume: continue from the state in `scratch`, if any. Returns only in the
    first process; the others exit with status 0.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    kept = scratch / "state.pt"
    steps, seconds, losses = 0, 0.0, deque[float](maxlen=100)
    if resume and kept.is_file():
        found = torch.load(kept, weights_only=True)
        trainer.restore(found["learner"])
        steps, seconds = found["steps"], found["seconds"]
        losses.extend(found["losses"])
        if distributed.is_first():
            console.print(f"resuming at step {steps:,} after {seconds / 60:.1f} min")
    distributed.wait()

    def save() -> None:
        state = {"learner": trainer.state(), "steps": steps, "seconds": seconds, "losses": list(losses)}
        torch.save(state, kept.with_suffix(".new"))
        kept.with_suffix(".new").replace(kept)

    saved = shown = printed = seconds
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not (console.is_terminal and distributed.is_first())) as bar:
        task = bar.add_task("", total=budget.steps)
        try:
            while (progress := distributed.as_the_first(budget.progress(steps, seconds))) < 1:
                started = time.perf_counter()
                losses.append(trainer.step(steps * distributed.count() + distributed.rank(), progress))
                steps, seconds = steps + 1, seconds + time.perf_counter() - started
                if not distributed.is_first():
                    continue
                left = seconds * (1 - progress) / progress if progress else 0.0
                line = f"loss {sum(losses) / len(losses):.4f}, {left / 60:.1f} min left"
                bar.update(task, completed=steps, description=line)
                if seconds - saved > SAVE_SECONDS:
                    saved = seconds
                    save()
                if not console.is_terminal and seconds - printed > LINE_SECONDS:
                    printed = seconds
                    console.print(f"step {steps:,} after {seconds / 60:.1f} min: {line}", soft_wrap=True)
                if seconds - shown > SHEET_SECONDS:
                    shown = seconds
                    _write_sheet(trainer, scratch / f"step-{steps:06}.png")
        except KeyboardInterrupt:
            if distributed.is_first():
                save()
            raise
    if not distributed.is_first():
        sys.exit(0)
    save()
    _write_sheet(trainer, scratch / f"step-{steps:06}.png")
    return Report(steps, seconds, sum(losses) / max(1, len(losses)))


def _write_sheet(trainer: Trainer, path: Path) -> None:
    sheet = trainer.sheet()
    if sheet is not None:
        sheet.save(path)


def rate(number: int, progress: float) -> float:
    """The learning rate's factor at a batch.

    Up over the first steps, flat, then down along a line.
    """
    step = number // distributed.count()
    return min(1.0, (step + 1) / WARM_UP_STEPS, max(0.01, (1 - progress) / COOL_DOWN))


def rng_of(seed: int, number: int) -> random.Random:
    """The random numbers of a batch, the same after an interruption."""
    return random.Random(f"{seed}:{number}")


def generator_of(seed: int, number: int) -> torch.Generator:
    """The same for tensors."""
    return torch.Generator().manual_seed(rng_of(seed, number).getrandbits(62))


class Average:
    """A running mean of weights, which is what is kept at the end.

    Young averages forget quickly, so that the random beginning leaves no trace.
    """

    def __init__(self, weights: Iterable[torch.nn.Parameter], decay: float) -> None:
        self._live: list[torch.Tensor] = list(weights)
        self._decay = decay
        self._count = 0
        self.weights = [weight.detach().clone() for weight in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of now into the mean."""
        self._count += 1
        share = 1 - min(self._decay, self._count / (self._count + 10))
        torch._foreach_lerp_(self.weights, self._live, share)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the weights and their mean; a second call brings them back."""
        for live, mean in zip(self._live, self.weights, strict=True):
            kept = live.clone()
            live.copy_(mean)
            mean.copy_(kept)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside the block the weights are their mean."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def state(self) -> dict[str, Any]:
        """All of it, for `restore`."""
        return {"count": self._count, "weights": self.weights}

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` was taken of."""
        self._count = state["count"]
        for mean, stored in zip(self.weights, state["weights"], strict=True):
            mean.copy_(stored)
