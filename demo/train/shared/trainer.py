"""The shared parts of a network's trainers: optimiser, averaged weights, state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from demo.train.shared import distributed
from demo.train.shared.loop import Average, rate
from demo.train.shared.optimizer import MuonAdamW


class Batch:
    """A batch of flow matching: inputs, targets, and each token's loss weight."""

    def __init__(self, inputs: tuple[Any, ...], velocity: Tensor, weight: Tensor) -> None:
        self.inputs, self.velocity, self.weight = inputs, velocity, weight

    def loss(self, found: Tensor) -> Tensor:
        """The weighted mean squared error of what the network says."""
        return ((found.float() - self.velocity) ** 2 * self.weight).mean()


def silence(linears: Iterable[nn.Linear]) -> None:
    """Let what these layers say begin at 0."""
    for linear in linears:
        for weight in linear.parameters():
            nn.init.zeros_(weight)


class NetworkTrainer:
    """A network, its optimiser and the mean of its weights.

    is_matrix: of a weight's name and the weight, whether Muon learns it; AdamW learns the others. decay: of the mean.
    """

    def __init__(
        self, network: Any, is_matrix: Callable[[str, nn.Parameter], bool], *, decay: float, lr: float
    ) -> None:
        self.network = network
        self._average = Average(network.parameters(), decay)
        named = list(network.named_parameters())
        self._optimizer = MuonAdamW(
            [weight for name, weight in named if is_matrix(name, weight)],
            [weight for name, weight in named if not is_matrix(name, weight)],
            lr=lr,
        )

    def learn(self, loss: Tensor, number: int, progress: float) -> float:
        """Take the step that this loss, and that of the other processes, asks for.

        Its value.
        """
        loss.backward()  # type: ignore[no-untyped-call]
        distributed.average_gradients(self.network.parameters())
        self._optimizer.step(rate(number, progress))
        self._average.update()
        return loss.item()

    def state(self) -> dict[str, Any]:
        """All trained parameters."""
        return {
            "network": self.network.state_dict(),
            "average": self._average.state(),
            "optimizer": self._optimizer.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        self.network.load_state_dict(state["network"])
        self._average.restore(state["average"])
        self._optimizer.restore(state["optimizer"])

    def finish(self) -> None:
        """Keep the mean of the weights."""
        self._average.swap()
