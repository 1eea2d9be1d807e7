"""`python -m demo.judge`.

Train the classifiers on training seeds, measure them on held-out ones, write the weights.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from demo import world
from demo.judge import examples
from demo.judge.examples import TrainingExample
from demo.judge.judge import ANSWERS, WEIGHTS, Judge, place_of
from demo.judge.network import Classifier
from demo.world import HELD_OUT_SEEDS, TRAINING_SEEDS

BATCH = 48
LEARNING_RATE = 3e-3


@dataclass(frozen=True)
class Course:
    """How one classifier is taught.

    Its pictures, from which seeds, for how many steps, judged by which loss.
    """

    example: Callable[[range], TrainingExample]
    seeds: range
    steps: int
    loss: Callable[[Tensor, Tensor], Tensor]


COURSES = {
    "scene": Course(examples.scenes, TRAINING_SEEDS[:4000], 500, functional.cross_entropy),
    "region": Course(examples.regions, TRAINING_SEEDS[4000:8000], 700, functional.binary_cross_entropy_with_logits),
    "hand": Course(examples.hands, TRAINING_SEEDS[8000:9500], 400, functional.cross_entropy),
    "face": Course(examples.faces, TRAINING_SEEDS[9500:10500], 300, functional.binary_cross_entropy_with_logits),
}

console = Console()


def main(arguments: list[str] | None = None) -> int:
    """Train and measure; the exit status is 0."""
    parser = argparse.ArgumentParser(prog="python -m demo.judge", description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--only", nargs="+", choices=COURSES, help="teach these and keep the others of --out")
    given = parser.parse_args(arguments)
    started = time.perf_counter()
    tensors = load_file(given.out) if given.only else {}
    for name in given.only or COURSES:
        course = COURSES[name]
        with console.status(f"{name}: drawing {len(course.seeds)} pictures …"):
            example = course.example(course.seeds)
        network = train(Classifier(ANSWERS[name]), example, course, name)
        tensors |= {f"{name}.{key}": _packed(value) for key, value in network.state_dict().items()}
    save_file(tensors, given.out)
    console.print(f"{given.out}: {given.out.stat().st_size} bytes, after {time.perf_counter() - started:.0f} s")
    report(Judge(given.out))
    return 0


def train(network: Classifier, example: TrainingExample, course: Course, name: str) -> Classifier:
    """Teach a classifier."""
    torch.manual_seed(20261126)
    generator = torch.Generator().manual_seed(7)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, generator=generator)
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=course.steps)
    order = examples.batches(len(example.pictures), BATCH, generator)
    for _, chosen in zip(track(range(course.steps), description=name, console=console), order, strict=False):
        scores = network(examples.worn(example.pictures[chosen], generator))
        optimiser.zero_grad()
        course.loss(scores, example.answers[chosen]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    return network.eval()


def report(judge: Judge, count: int = 1000) -> None:
    """Print how often the classifiers are right on held-out scenes as drawn."""
    seeds = range(HELD_OUT_SEEDS.start + 500_000, HELD_OUT_SEEDS.start + 500_000 + count)
    scenes = [world.sample(random.Random(seed)) for seed in seeds]
    pictures = [world.render(scene).rgb for scene in scenes]
    strips = [examples.region(seed) for seed in seeds]
    people = [examples.person(seed) for seed in seeds]
    shown, who = [picture for picture, _ in people], [person for _, person in people]
    right = {
        "place": zip(judge.places(pictures), (place_of(scene.background) for scene in scenes), strict=True),
        "things": zip(judge.props([strip for strip, _ in strips]), (there for _, there in strips), strict=True),
        "held": zip(judge.held(shown, who), (person.holding for person in who), strict=True),
        "glasses": zip(judge.glasses(shown, who), (person.glasses for person in who), strict=True),
    }
    for name, pairs in right.items():
        share = sum(said == true for said, true in pairs) / count
        console.print(f"{name:8} right on {share:.2%} of {count} held-out pictures")


def _packed(value: Tensor) -> Tensor:
    return value.half() if value.is_floating_point() else value


if __name__ == "__main__":
    sys.exit(main())
