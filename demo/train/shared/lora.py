"""How a few-step LoRA of either painting model is taught.

One of its steps lands where several of the network's do.

The network itself is the teacher, with the LoRA off. Knows neither model.
"""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from torch import Tensor

from demo.tiny.folder import seeded
from demo.train.shared import distributed
from demo.train.shared.loop import Average, generator_of, rate, rng_of

STEPS = 8
"""Of the profile `fast` in config/experiments.yaml."""

RANK = 8
LEARNING_RATE = 1e-3
FILE = Path("lora/fast.safetensors")


class LoraTrainer(ABC):
    """The LoRA inside a transformer, its optimiser and averaged weights.

    layers: the layers with a LoRA.
    """

    def __init__(self, seed: int, transformer: Any, layers: list[str]) -> None:
        self._seed = seed
        self.transformer = transformer.requires_grad_(False)
        with seeded(seed):
            transformer.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=layers))
        self._weights = [weight for weight in transformer.parameters() if weight.requires_grad]
        self._average = Average(self._weights, 0.99)
        self._optimizer = torch.optim.AdamW(self._weights, lr=LEARNING_RATE, weight_decay=0.0, foreach=True)

    def step(self, number: int, progress: float) -> float:
        """One batch of examples of one kind, at one of the levels."""
        for group in self._optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate(number, progress)
        loss = self.distance(rng_of(self._seed, number), generator_of(self._seed, number))
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.average_gradients(self._weights)
        self._optimizer.step()
        self._average.update()
        return loss.item()

    @abstractmethod
    def distance(self, rng: random.Random, generator: torch.Generator) -> Tensor:
        """How far one step of the LoRA is from the teacher's several, over one batch."""

    @contextmanager
    def off(self) -> Iterator[None]:
        """Inside the block the network is the teacher."""
        self.transformer.disable_adapters()
        try:
            yield
        finally:
            self.transformer.enable_adapters()

    def state(self) -> dict[str, Any]:
        """The LoRA and what learns it."""
        return {
            "lora": list(self._weights),
            "average": self._average.state(),
            "optimizer": self._optimizer.state_dict(),
        }

    @torch.no_grad()
    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        for weight, stored in zip(self._weights, state["lora"], strict=True):
            weight.copy_(stored)
        self._average.restore(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])

    def sheet(self) -> Image.Image | None:
        """Nothing, unless a trainer has something to show."""
        return None

    def finish(self) -> None:
        """Keep the mean of the weights."""
        self._average.swap()

    def write(self, pipeline: Any, path: Path) -> None:
        """Write the LoRA as diffusers loads it. pipeline: the class that does."""
        weights = {name: weight.bfloat16() for name, weight in get_peft_model_state_dict(self.transformer).items()}
        pipeline.save_lora_weights(str(path.parent), transformer_lora_layers=weights, weight_name=path.name)
