"""A small training for `torchrun … -m tests.support.learning_together`.

Every process writes its result into the folder.
"""

from __future__ import annotations

import sys

import torch
from PIL import Image
from torch import Tensor, nn

from demo.tiny.folder import seeded
from demo.train import __main__ as command
from demo.train.shared import distributed
from demo.train.shared.loop import generator_of, train
from demo.train.shared.run_folder import Options
from demo.train.shared.trainer import NetworkTrainer

SEED = 6


class Sums(nn.Module):
    """Of numbers, and of others that only every other batch has."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Linear(4, 4)
        self.sometimes = nn.Linear(4, 4)
        self.never = nn.Linear(4, 4)

    def forward(self, numbers: Tensor, *, both: bool) -> Tensor:
        found: Tensor = self.always(numbers)
        return found + self.sometimes(numbers) if both else found


class SumsTrainer(NetworkTrainer):
    """Learns that the sum is 1."""

    def __init__(self) -> None:
        with seeded(SEED):
            network = Sums()
        super().__init__(network, lambda name, weight: name == "always.weight", decay=0.9, lr=0.01)

    def loss(self, number: int) -> Tensor:
        numbers = torch.randn(3, 4, generator=generator_of(SEED, number))
        found: Tensor = self.network(numbers, both=number % 2 == 1)
        return ((found - 1) ** 2).mean()

    def step(self, number: int, progress: float) -> float:
        return self.learn(self.loss(number), number, progress)

    def sheet(self) -> Image.Image | None:
        return None


def train_part(options: Options) -> None:
    trainer = SumsTrainer()
    try:
        train(trainer, scratch=options.scratch / "sums", budget=options.budget, resume=options.resume)
    finally:
        torch.save(trainer.state(), options.out / f"{distributed.rank()}.pt")
    (options.out / "report").write_text("written by the first alone")


if __name__ == "__main__":
    command.PARTS["sums"] = ("tests.support.learning_together", 1.0)
    sys.exit(command.main(["sums", *sys.argv[1:]]))
